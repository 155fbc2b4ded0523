"""Brings the stack up in order, keeps it up, takes it down."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from clustercockpit.errors import ClusterCockpitError
from clustercockpit.settings import Settings
from clustercockpit.site import Site
from local_stack import archived_jobs, demo, programs
from local_stack.configuration import write_configuration
from local_stack.console import LocalStackError, say
from local_stack.deployment import client, data_resources, deploy
from local_stack.emulator import CREDENTIALS, Emulator
from local_stack.keys import local_keys
from local_stack.options import Options
from local_stack.supervision import EndRequest, Program, Supervisor, describe

AUTH_SECRET = "clustercockpit/auth"  # noqa: S105
ARCHIVE_BUCKET, DATA_BUCKET = "clustercockpit-archive", "clustercockpit-data"


def auth_secret(emulator: Emulator, keys: dict[str, str]) -> str:
    """The ARN of the secret that holds the keys, as a site has one in Secrets Manager."""
    secrets = client(emulator, "secretsmanager")
    text = json.dumps(keys)
    try:
        arn: str = secrets.describe_secret(SecretId=AUTH_SECRET)["ARN"]
        secrets.put_secret_value(SecretId=AUTH_SECRET, SecretString=text)
    except secrets.exceptions.ResourceNotFoundException:
        arn = secrets.create_secret(Name=AUTH_SECRET, SecretString=text)["ARN"]
    return arn


class EmulatorLostError(Exception):
    """The AWS emulator died: what it had in memory is gone."""


@dataclass
class LocalStack:
    options: Options
    end: EndRequest = field(default_factory=EndRequest)

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(self.end)
        self.options.var.mkdir(parents=True, exist_ok=True)
        self.emulator = Emulator(self.options)

    def run(self) -> None:
        """Until asked to stop. Comes up again by itself when the emulator is lost."""
        while True:
            try:
                self._come_up()
                self.supervisor.watch(self._died)
            except EmulatorLostError:
                self._take_down()
                self.supervisor = Supervisor(self.end)
                continue
            return

    def _come_up(self) -> None:
        try:
            self._bring_up()
        except Exception as error:
            emulator = self.supervisor.programs[0] if self.supervisor.programs else None
            if self.emulator.ended_uncleanly and emulator and emulator.process:
                status = emulator.process.poll()
                if status is not None:
                    self._died(emulator, status)
            if isinstance(error, ClusterCockpitError):
                raise LocalStackError(str(error)) from error
            raise

    def _bring_up(self) -> None:
        options = self.options
        keys = local_keys(options.var / ".env")
        write_configuration(options)
        rebuild = self._check_last_end()
        say("starting the AWS emulator ...")
        self.supervisor.start(self.emulator.program())
        self.emulator.started()
        say("deploying template.yaml to it ...")
        outputs = deploy(self.emulator, self._parameters(keys))
        environment = programs.environment(options, CREDENTIALS, keys, outputs)
        # This process reads and writes the site's data too: users, clusters, archived jobs
        os.environ.update({**CREDENTIALS, "AWS_ENDPOINT_URL": options.aws_url})
        site = Site(Settings.from_environment(environment))
        if site.table.name not in client(self.emulator, "dynamodb").list_tables()["TableNames"]:
            site.table.create()
        # The functions read it there, the processes here the file that people edit
        site.data_objects.put("config/config.json", (options.var / "config.json").read_bytes())
        demo.add_users(site)
        if options.archive is None:
            demo.install_clusters(site)
        for name, module, make in (
            ("NATS", "", programs.nats),
            ("the metric store", "cc_metric_store", programs.metric_store),
            ("the NATS subscriber", "cc_job_events", programs.job_events),
        ):
            if module and not programs.installed(module):
                say(f"{name} is not in this tree, going on without it")
                continue
            say(f"starting {name} ...")
            self.supervisor.start(make(options, environment))
        if rebuild:
            self._rebuild(site)
        if options.archive is not None:
            self._load_archive(site, options.archive)
        say("starting the web server ...")
        self.supervisor.start(programs.web(options, environment))
        self._write_local_json(site)
        if options.demo and options.archive is None:
            say("starting the simulator: it fills in the last two hours, then goes on live ...")
            self.supervisor.start(programs.simulator(options, environment))
        self._welcome()

    def _check_last_end(self) -> bool:
        """True where finished jobs must be brought back from the archive."""
        emulator = self.emulator
        if emulator.ended_uncleanly:
            say(
                "the AWS emulator did not end cleanly last time: what it held in memory is lost (running "
                "jobs, jobs not archived yet, users added since). It is deployed afresh, and finished jobs "
                "are rebuilt from the archive."
            )
            emulator.forget_all_but_objects()
        elif emulator.rebuild_mark.exists():
            say("rebuilding finished jobs from the archive was interrupted last time: going on with it.")
        return emulator.rebuild_mark.exists()

    def _parameters(self, keys: dict[str, str]) -> dict[str, str]:
        return {
            "DataResources": data_resources(self.emulator, [ARCHIVE_BUCKET, DATA_BUCKET]),
            "ArchiveBucketName": ARCHIVE_BUCKET,
            "DataBucketName": DATA_BUCKET,
            "AuthSecretArn": auth_secret(self.emulator, keys),
            # The container's processes run beside the emulator
            "ContainerService": "false",
            "MetricStoreUrl": self.options.metric_store_url,
            "NodeIngest": "none",
            "ArchiveDelaySeconds": "5",
            "ArchiveRetrySeconds": "60",
            "FootprintAfterSeconds": "120",
        }

    def _rebuild(self, site: Site) -> None:
        say("rebuilding finished jobs from the archive ...")
        archived_jobs.load(site, site.archive, None)
        self.emulator.rebuilt()

    def _load_archive(self, site: Site, folder: Path) -> None:
        say(f"loading clusters and jobs from {folder} ...")
        archived_jobs.load(site, archived_jobs.in_folder(folder), self.options.days)

    def _write_local_json(self, site: Site) -> None:
        options = self.options
        content = {
            "url": options.url,
            "metric_store_url": options.metric_store_url,
            "nats_url": options.nats_url,
            "aws_endpoint_url": options.aws_url,
            "api_token": demo.api_token(site),
            "clusters": sorted(site.archive.cluster_names()),
            "users": demo.users_for_scripts(),
        }
        fresh = options.local_json.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file, indent=2)
        fresh.replace(options.local_json)

    def _welcome(self) -> None:
        names = ", ".join(user.username for user in demo.USERS if user.roles != ("api",))
        print(
            f"\n  ClusterCockpit:  {self.options.url}"
            f"\n  log in as:       admin / {demo.PASSWORD}   (others: {names}; the same password)"
            f"\n  for scripts:     {self.options.local_json}"
            f"\n  logs:            {self.options.logs}"
            "\n  stop:            Ctrl-C; everything is kept for the next start\n",
            flush=True,
        )

    def _died(self, program: Program, status: int) -> None:
        say(f"{program.name} {describe(status)}. It stands for AWS: bringing everything up again.")
        raise EmulatorLostError

    def _take_down(self) -> None:
        """Last started first, so that nothing loses what it talks to; the emulator saves its state last."""
        supervisor = self.supervisor
        supervisor.stopping = True
        while supervisor.programs:
            program = supervisor.programs.pop()
            status = program.stop()
            if program.name == "the AWS emulator" and self.emulator.ended_uncleanly:
                how = describe(status) if status else "saved nothing"
                say(f"the AWS emulator {how}: the next start rebuilds from the archive")

    def stop(self) -> None:
        say("stopping ...")
        self._take_down()
        say("stopped, everything is kept")


__all__ = ["LocalStack", "LocalStackError"]
