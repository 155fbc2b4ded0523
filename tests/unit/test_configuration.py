"""The configuration: the seed's document, both spellings, every fault named, older layouts."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercockpit.config.activity import inactive
from clustercockpit.config.configuration import Configuration, parse
from clustercockpit.config.schedules import schedule_expression
from clustercockpit.config.source import ConfigurationSource, FilePlace
from clustercockpit.config.values import age, duration
from clustercockpit.errors import ConfigurationError

SEED: dict[str, Any] = {
    "main": {
        "addr": "0.0.0.0:443",
        "https-cert-file": "/etc/letsencrypt/live/url/fullchain.pem",
        "https-key-file": "/etc/letsencrypt/live/url/privkey.pem",
        "user": "clustercockpit",
        "group": "clustercockpit",
        "short-running-jobs-duration": 300,
        "enable-job-taggers": True,
        "resampling": {"minimum-points": 600, "trigger": 180, "resolutions": [240, 60]},
        "api-subjects": {"subject-job-event": "cc.job.event", "subject-node-state": "cc.node.state"},
    },
    "nats": {"address": "nats://x.x.x.x:4222", "username": "root", "password": "hunter2"},
    "auth": {
        "jwts": {"max-age": "2000h"},
        "ldap": {
            "url": "ldaps://hpcldap.example.org",
            "user_base": "ou=people,ou=hpc,dc=rz,dc=uni,dc=de",
            "search_dn": "cn=hpcmonitoring,ou=roadm,ou=profile,ou=hpc,dc=rz,dc=uni,dc=de",
            "user_bind": "uid={username},ou=people,ou=hpc,dc=rrze,dc=uni,dc=de",
            "user_filter": "(&(objectclass=posixAccount))",
            "sync_interval": "24h",
        },
    },
    "cron": {"commit-job-worker": "1m", "duration-worker": "5m", "footprint-worker": "10m"},
    "archive": {
        "kind": "s3",
        "endpoint": "http://x.x.x.x",
        "bucket": "jobarchive",
        "access-key": "xx",
        "secret-key": "hunter3",
        "retention": {"policy": "move", "age": 365, "location": "./var/archive"},
    },
    "metric-store": {
        "memory-cap": 100,
        "retention-in-memory": "48h",
        "cleanup": {"mode": "archive", "directory": "./var/archive"},
        "nats-subscriptions": [
            {"subscribe-to": "hpc-nats", "cluster-tag": "fritz"},
            {"subscribe-to": "hpc-nats", "cluster-tag": "alex"},
        ],
    },
    "ui-file": "ui-config.json",
}
UI = b'{"job-list": {"use-paging": true}, "metric-config": {"job-list-metrics": ["flops_any"]}}'


def read(document: Any, files: dict[str, bytes] | None = None) -> Configuration:
    found = {"ui-config.json": UI} if files is None else files
    return parse(json.dumps(document).encode(), "config.json", found.get)


def changed(*path: str, value: Any = None, document: dict[str, Any] | None = None) -> dict[str, Any]:
    """The seed's document with one key set, or removed where `value` is None."""
    result = copy.deepcopy(SEED if document is None else document)
    place = result
    for name in path[:-1]:
        place = place[name]
    if value is None:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = value
    return result


def renamed(document: Any, names: dict[str, str]) -> Any:
    if isinstance(document, dict):
        return {names.get(name, name): renamed(value, names) for name, value in document.items()}
    return [renamed(entry, names) for entry in document] if isinstance(document, list) else document


LDAP_NAMES = ["user_base", "search_dn", "user_bind", "user_filter", "sync_interval"]


def test_the_seeds_document_is_understood_as_it_is() -> None:
    configuration = read(SEED)
    assert not [w for w in configuration.warnings if "spelling" in w or "old" in w or "unknown" in w]
    main = configuration.main
    assert main.host_and_port == ("0.0.0.0", 443)
    assert (main.user, main.group) == ("clustercockpit", "clustercockpit")
    assert main.resampling is not None
    assert main.resampling.resolutions == (240, 60)
    assert (main.resampling.minimum_points, main.resampling.trigger) == (600, 180)
    assert main.api_subjects is not None
    assert (main.api_subjects.subject_job_event, main.api_subjects.exclusive) == ("cc.job.event", False)
    assert configuration.auth.jwts.max_age == 2000 * 3600
    ldap = configuration.auth.ldap
    assert ldap is not None
    assert ldap.user_base == "ou=people,ou=hpc,dc=rz,dc=uni,dc=de"
    assert ldap.search_dn.startswith("cn=hpcmonitoring")
    assert ldap.user_bind.startswith("uid={username}")
    assert (ldap.user_filter, ldap.sync_interval) == ("(&(objectclass=posixAccount))", 86400)
    assert (ldap.sync_user_on_login, ldap.sync_del_old_users) == (False, False)
    cron = configuration.cron
    assert (cron.commit_job_worker, cron.duration_worker, cron.footprint_worker) == (60, 300, 600)
    archive = configuration.archive
    assert (archive.kind, archive.bucket, archive.compression) == ("s3", "jobarchive", 7)
    assert archive.retention is not None
    assert (archive.retention.policy, archive.retention.age) == ("move", 365 * 86400)
    store = configuration.metric_store
    assert store is not None
    assert (store.memory_cap_bytes, store.retention_in_memory) == (100 * 10**9, 48 * 3600)
    assert [s.cluster_tag for s in store.nats_subscriptions] == ["fritz", "alex"]
    # One directory for both would make each other's files unreadable.
    assert archive.retention.target_path == "./var/archive/jobs"
    assert store.cleanup.directory == "./var/archive/metrics"
    assert configuration.access_policy.api_allowed.everyone
    assert configuration.access_policy.session_max_age == 168 * 3600
    assert configuration.ui["jobList_usePaging"] is True
    assert configuration.ui["metricConfig_jobListMetrics"] == ["flops_any"]
    assert configuration.ui["jobList_hideShortRunningJobs"] == 300
    assert configuration.nats.password == "hunter2"


def test_both_spellings_mean_the_same() -> None:
    dashed = renamed(SEED, {name: name.replace("_", "-") for name in LDAP_NAMES})
    dashed["archive"]["retention"].pop("location")
    dashed["archive"]["retention"].update({"target-kind": "file", "target-path": "./var/archive"})
    assert read(dashed) == read(SEED)
    mixed = changed("auth", "ldap", "user-base", value="dc=other")
    with pytest.raises(ConfigurationError, match=r"auth\.ldap\.user-base: contradicts user_base") as caught:
        read(mixed)
    assert "dc=other" not in str(caught.value)
    agreeing = changed("auth", "ldap", "user-base", value=SEED["auth"]["ldap"]["user_base"])
    assert read(agreeing) == read(SEED)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            ("auth", "ldap", "user_bsae"),
            "x",
            "config.json: auth.ldap.user_bsae: unknown key; did you mean user_base",
        ),
        (("auth", "ldap", "url"), None, "auth.ldap.url: is required and missing"),
        (("auth", "jwts"), None, "auth.jwts: is required"),
        (("auth",), None, "auth: this section is required"),
        (("main",), None, "main: this section is required"),
        (("auth", "jwts", "max-age"), "2000", "auth.jwts.max-age: expected a duration such as 48h"),
        (("auth", "jwts", "max-age"), "0", "auth.jwts.max-age: must be longer than 0"),
        (("metric-store", "retention-in-memory"), 48, "a bare number has no unit"),
        (("metric-store", "memory-cap"), "100", "metric-store.memory-cap: expected a number, got a string"),
        (
            ("metric-store", "checkpoints"),
            {"intervall": "1h"},
            "metric-store.checkpoints.intervall: unknown key",
        ),
        (("metric-store", "cleanup", "mode"), "move", "must be one of delete, archive"),
        (("main", "https-key-file"), None, "main.https-key-file: is required beside https-cert-file"),
        (("main", "addr"), "443", "main.addr: expected host:port"),
        (("main", "resampling", "resolutions"), [], "main.resampling.resolutions: needs at least 1 entry"),
        (
            ("main", "resampling", "resolutions"),
            [240, "60"],
            "main.resampling.resolutions[1]: expected a whole",
        ),
        (
            ("main", "enable-job-taggers"),
            "yes",
            "main.enable-job-taggers: expected true or false, got a string",
        ),
        (("main", "api-allowed-ips"), ["10.0.0.0/33"], "'10.0.0.0/33' is not an IP address"),
        (("main", "embed-static-files"), False, "main.static-files: is required"),
        (("main", "unknown"), 1, "main.unknown: unknown key"),
        (("archive", "kind"), "tape", "archive.kind: must be one of file, s3, sqlite"),
        (("archive", "kind"), "sqlite", "archive.kind: sqlite archives are not read here"),
        (("archive", "bucket"), None, "archive.bucket: is required for kind s3"),
        (("archive", "retention", "age"), None, "archive.retention.age: is required for policy move"),
        (("archive", "retention", "age"), 0, "archive.retention.age: is required for policy move"),
        (("archive", "retention", "location"), None, "archive.retention.target-path: is required"),
        (
            ("archive", "retention", "target-path"),
            "/x",
            "archive.retention.location: contradicts target-path",
        ),
        (("nats", "password"), {"secret": "x"}, "nats.password: references to a secret store"),
        (("cron", "duration-worker"), "5 minutes", "cron.duration-worker: expected a duration"),
        (("ui",), {}, "ui-file: both ui and ui-file are there"),
        (("metric-store-external",), [], "metric-store-external: needs at least 1 entry"),
        (
            ("metric-store-external",),
            [{"scope": "*", "url": "http://x"}],
            "metric-store-external[0].token: is",
        ),
    ],
)
def test_a_fault_names_file_key_and_remedy(path: tuple[str, ...], value: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(changed(*path, value=value))
    assert message in str(caught.value)
    assert "hunter" not in str(caught.value), "no secret is shown"


def test_all_faults_are_told_at_once() -> None:
    document = changed("main", "addr", value=5, document=changed("auth", "ldap", "url"))
    with pytest.raises(ConfigurationError) as caught:
        read(document)
    assert len(str(caught.value).splitlines()) == 2


def test_unknown_keys_elsewhere_are_warnings() -> None:
    configuration = read(changed("cron", "coffee-worker", value="1h", document=changed("brew", value={})))
    assert any("cron.coffee-worker: unknown key" in w for w in configuration.warnings)
    assert any("brew: unknown section" in w for w in read({**SEED, "brew": {}}).warnings)


def test_files_named_by_the_document() -> None:
    document = changed("ui-file", value="missing.json")
    assert any("missing.json does not exist" in w for w in read(document, {}).warnings)
    document = changed("auth-file", value="auth.json", document=changed("auth"))
    read(document, {"auth.json": json.dumps(SEED["auth"]).encode()})
    with pytest.raises(ConfigurationError, match=r"auth-file: auth\.json does not exist"):
        read(document, {})
    with pytest.raises(
        ConfigurationError, match=r"auth\.json: auth\.ldap: is required|auth\.json: auth\.jwts"
    ):
        read(document, {"auth.json": b"{}"})
    with pytest.raises(ConfigurationError, match=r"ui-config\.json: ui\.job-list\.use-paging"):
        read(SEED, {"ui-config.json": b'{"job-list": {"use-paging": 1}}'})
    document = changed("metric-store-file", value="store.json", document=changed("metric-store"))
    store = json.dumps(SEED["metric-store"]).encode()
    assert read(document, {"store.json": store, "ui-config.json": UI}).metric_store is not None


def test_no_json_is_told_by_place_not_by_content() -> None:
    with pytest.raises(ConfigurationError, match=r"config\.json: not JSON: .* line 2"):
        parse(b'{"nats":\n{"password": "hunter2",}}', "config.json", {}.get)
    with pytest.raises(ConfigurationError, match="expected a JSON object"):
        parse(b"[]", "config.json", {}.get)


def test_older_layouts() -> None:
    old = {
        "addr": "127.0.0.1:8080",
        "short-running-jobs-duration": 250,
        "apiAllowedIPs": ["10.0.0.1"],
        "enable-resampling": {"trigger": 30, "resolutions": [600, 300]},
        "jwts": {"max-age": "2000h", "validateUser": True},
        "archive": {
            "kind": "file",
            "path": "./var/job-archive",
            "retention": {"policy": "delete", "age": "12 months", "includeDB": False, "omitTagged": "all"},
        },
        "nodestate": {"retention": {"policy": "archive", "age": 72, "archive-path": "./var/nodes"}},
        "metric-store": {
            "retention-in-memory": "24h",
            "memory-cap": 10,
            "checkpoints": {"interval": "6h", "directory": "./x"},
            "archive": {"interval": "24h", "directory": "./y"},
        },
        "clusters": [
            {
                "name": "emmy",
                "metricDataRepository": {"kind": "cc-metric-store", "url": "http://m", "token": "t"},
            }
        ],
    }
    configuration = read(old, {})
    assert configuration.main.short_running_jobs_duration == 250
    assert not configuration.main.api_allowed_ips.admits("10.0.0.2")
    assert configuration.main.resampling is not None
    assert configuration.auth.jwts.validate_user
    assert configuration.archive.retention is not None
    assert configuration.archive.retention.age == 360 * 86400
    assert not configuration.archive.retention.include_db
    assert configuration.main.nodestate_retention is not None
    assert configuration.main.nodestate_retention.age == 72 * 3600
    assert configuration.metric_store is not None
    assert configuration.metric_store.checkpoint_interval == 6 * 3600
    assert configuration.metric_store.cleanup.mode == "archive"
    assert configuration.external_stores[0].scope == "emmy"
    assert any("apiAllowedIPs: old spelling" in w for w in configuration.warnings)
    assert any("addr: old place; write main.addr" in w for w in configuration.warnings)


def test_what_guards_and_is_not_active() -> None:
    entries = inactive(read(SEED))
    assert {entry.key for entry in entries if entry.guards} == {"auth.ldap", "archive.retention"}
    assert "main.enable-job-taggers" in {entry.key for entry in entries if not entry.guards}
    assert inactive(Configuration()) == []


def test_authentication_may_be_switched_off_without_a_section() -> None:
    configuration = read({"main": {"disable-authentication": True}})
    assert configuration.access_policy.authentication_disabled


def test_session_age_of_nothing_means_no_expiry() -> None:
    for text in ("0", ""):
        policy = read(changed("main", "session-max-age", value=text)).access_policy
        assert policy.session_max_age is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("48h", 172800),
        ("1h30m", 5400),
        ("0.5h", 1800),
        ("2000h", 7_200_000),
        ("0", 0),
        ("-1.5s", -1.5),
        ("100ms", 0.1),
        ("2d", 172800),
        ("1w", 604800),
        (".5m", 30),
        ("3µs", 3e-6),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "48", "h", "1h 30m", "1x", "--1h", "1h-", ".h", "1e3s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        duration(text)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 999), st.sampled_from(["h", "m", "s", "ms"])), min_size=1, max_size=4)
)
def test_durations_add_up(parts: list[tuple[int, str]]) -> None:
    units = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    text = "".join(f"{n}{unit}" for n, unit in parts)
    assert duration(text) == pytest.approx(sum(n * units[unit] for n, unit in parts))


def test_ages() -> None:
    assert age(365, 86400) == age("365d", 3600) == age("1 year", 1) == age("1y", 1) == 365 * 86400
    assert age("6 months", 1) == 180 * 86400
    assert age("2w", 1) == 14 * 86400
    for bad in ("6", "1.5d", "d", "1 fortnight"):
        with pytest.raises(ValueError, match="expected a whole number"):
            age(bad, 1)


def test_schedules(caplog: pytest.LogCaptureFixture) -> None:
    texts = ["1m", "5m", "10m", "90s", "0", "1h30m"]
    assert [schedule_expression("cron.x", duration(text)) for text in texts] == [
        "rate(1 minute)",
        "rate(5 minutes)",
        "rate(10 minutes)",
        "rate(2 minutes)",
        None,
        "rate(90 minutes)",
    ]
    assert len(caplog.records) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.data(), JSON)
def test_no_value_anywhere_crashes_the_reader(data: st.DataObject, value: Any) -> None:
    section = data.draw(st.sampled_from([name for name in SEED if name != "ui-file"]))
    document = copy.deepcopy(SEED)
    name = data.draw(st.sampled_from([None, *sorted(document[section])]))
    if name is None:
        document[section] = value
    else:
        document[section][name] = value
    try:
        read(document)
    except ConfigurationError as error:
        assert "config.json: " in str(error)  # noqa: PT017


def test_changes_are_followed_and_bad_ones_are_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "config.json"
    ui = tmp_path / "ui-config.json"
    path.write_text(json.dumps(SEED))
    ui.write_bytes(UI)
    now = 0.0
    source = ConfigurationSource(FilePlace(path), required=True, clock=lambda: now)
    first = source.current()
    path.write_text(json.dumps(changed("main", "short-running-jobs-duration", value=60)))
    assert source.current() is first, "looked at once a minute"
    now = 61
    assert source.known() is first
    assert source.current().main.short_running_jobs_duration == 60
    path.write_text('{"main": {"adr": 1}}')
    now = 122
    assert source.current().main.short_running_jobs_duration == 60
    assert "main.adr: unknown key; did you mean addr" in caplog.text
    path.write_text(json.dumps(SEED))
    ui.write_text('{"job-list": {"use-paging": false}}')
    now = 183
    assert source.current().ui["jobList_usePaging"] is False
    ui.write_bytes(UI)
    now = 244
    assert source.current().ui["jobList_usePaging"] is True, "a change of a file it names counts too"
    path.unlink()
    now = 305
    assert source.current().ui["jobList_usePaging"] is True


def test_a_missing_document() -> None:
    with pytest.raises(ConfigurationError, match="does not exist; `cc-backend -init`"):
        ConfigurationSource(FilePlace(Path("/nowhere/config.json")), required=True).current()
    assert ConfigurationSource(None).current() == Configuration()
