"""`cc-backend`: the command line of the reference.

Switches are handled in the reference's order, whatever the order they are written in; exit code 0 for success
and "nothing to do", 1 for any reported error, 2 for wrong usage, 70 for a crash.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from clustercockpit.errors import ClusterCockpitError, ConfigurationError
from clustercockpit.switches import HelpRequested, Switch, UsageError, parse, print_usage

if TYPE_CHECKING:
    from clustercockpit.config.configuration import Configuration
    from clustercockpit.settings import Settings
    from clustercockpit.site import Site

log = logging.getLogger("clustercockpit")

SCHEMA_VERSION = 11
ARCHIVE_VERSION = 3

SWITCHES = (
    Switch("version", "Show version information and exit"),
    Switch("init", "Set up ./var, config.json and .env in this directory, and exit"),
    Switch("server", "Start serving after all other switches were handled"),
    Switch("config", "Path of the configuration document", "FILE", "./config.json"),
    Switch("loglevel", "debug, info, warn, err, or crit", "LEVEL", "warn"),
    Switch("logdate", "Add date and time to log lines"),
    Switch("dev", "Developer mode: tells what this build answers where"),
    Switch("gops", "Accepted, without effect here"),
    Switch("migrate-db", "Create the table if there is none, and exit"),
    Switch("revert-db", "Not possible here: there is one form of the table"),
    Switch("force-db", "Accepted, without effect here; exit"),
    Switch("optimize-db", "Accepted, nothing needs it here; exit"),
    Switch("init-db", "Rebuild the jobs in the database from the job archive"),
    Switch("import-job", "Import jobs into archive and database", "META:DATA[,META:DATA]"),
    Switch("add-user", "Add a local user; - for the password reads it", "NAME:ROLE[,ROLE]:PASSWORD"),
    Switch("del-user", "Remove a user and their settings", "NAME"),
    Switch("sync-ldap", "Synchronise users with LDAP"),
    Switch("jwt", "Print an API token for a user", "NAME"),
    Switch("apply-tags", "Run all taggers on all finished jobs"),
    Switch("cleanup-checkpoints", "Clean up checkpoints of the metric store"),
    Switch("accept-inactive", "Start although the configuration has guarding keys that are not active yet"),
)

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "err": logging.ERROR,
    "fatal": logging.ERROR,
    "crit": logging.CRITICAL,
}
_PREFIXES = {
    logging.DEBUG: "<7>[DEBUG]    ",
    logging.INFO: "<6>[INFO]     ",
    logging.WARNING: "<4>[WARNING]  ",
    logging.ERROR: "<3>[ERROR]    ",
    logging.CRITICAL: "<2>[CRITICAL] ",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the console script; returns the exit code."""
    try:
        given = parse(sys.argv[1:] if arguments is None else arguments, SWITCHES)
    except HelpRequested:
        print_usage("cc-backend", SWITCHES)
        return 0
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        print_usage("cc-backend", SWITCHES)
        return 2
    given = {name: value for name, value in given.items() if value != "false"}
    if "version" in given:
        _print_version()
        return 0
    if given.get("loglevel", "warn") not in _LEVELS:
        sys.stderr.write(f"-loglevel: one of {', '.join(_LEVELS)}\n")
        return 2
    _set_up_logging(_LEVELS[given.get("loglevel", "warn")], dated="logdate" in given)
    try:
        return _run(given)
    except ClusterCockpitError as error:
        for line in str(error).splitlines():
            log.error("%s", line)
        return 1
    except KeyboardInterrupt:
        return 0
    except Exception:
        log.critical("this is a fault of the program", exc_info=True)
        return 70


def _run(given: dict[str, str]) -> int:
    if "init" in given:
        return _init(Path.cwd())
    config_file = Path(given.get("config", "./config.json"))
    site = installation(config_file)
    if "migrate-db" in given:
        _say("The table was created." if _ensure_table(site) else "The table exists; there is nothing to do.")
        return 0
    if "revert-db" in given:
        raise ConfigurationError("-revert-db: there is one form of the table, and none before it")
    if "force-db" in given or "optimize-db" in given:
        _say("There is nothing to do here.")
        return 0
    if "add-user" in given:
        _add_user(site, given["add-user"])
    if "del-user" in given:
        _require_authentication(site, "-del-user")
        site.accounts.remove(given["del-user"])
        _say(f"User {given['del-user']} is gone.")
    for name in ("sync-ldap", "import-job", "apply-tags", "cleanup-checkpoints"):
        if name in given:
            raise ConfigurationError(f"-{name} is not active yet")
    if "jwt" in given:
        _print_token(site, given["jwt"])
    if "init-db" in given:
        _init_db(site)
    if "server" not in given:
        if not {"add-user", "del-user", "jwt", "init-db"} & set(given):
            _say("No switch asks for anything; start the server with -server, or see -help.")
        return 0
    return _serve(site, accept_inactive="accept-inactive" in given, developing="dev" in given)


def installation(config_file: Path) -> Site:
    """The installation that a configuration document and the `.env` beside it describe.

    What the environment says wins over the document, for it is how a deployment is told where it is.
    """
    from clustercockpit.config.env_file import load_env
    from clustercockpit.settings import Settings, process_environment
    from clustercockpit.site import Site

    folders = [Path.cwd(), Path(sys.argv[0]).resolve().parent, config_file.resolve().parent]
    load_env(process_environment(), folders)
    settings = replace(Settings.from_environment(), config_file=str(config_file))
    configuration = Site(settings).configuration
    return Site(_completed(settings, configuration))


def _completed(settings: Settings, configuration: Configuration) -> Settings:
    from clustercockpit.settings import S3Access

    settings = replace(settings, data_bucket=settings.data_bucket or "./var/data")
    archive = configuration.archive
    if settings.archive_bucket:
        return settings
    if archive.kind == "file":
        return replace(settings, archive_bucket=_as_folder(archive.path))
    access = S3Access(
        archive.endpoint, archive.region, archive.access_key, archive.secret_key, archive.use_path_style
    )
    return replace(settings, archive_bucket=archive.bucket, archive_s3=access)


def _as_folder(path: str) -> str:
    """A path that cannot be taken for the name of a bucket."""
    return path if "/" in path else f"./{path}"


def _init(folder: Path) -> int:
    from clustercockpit.config.initial import initialise

    created = initialise(folder)
    if not created:
        sys.stderr.write("./var exists: this directory is set up already, nothing was changed\n")
        return 0
    _say("Created " + ", ".join(str(path.relative_to(folder)) for path in created) + ".")
    _say("Next: say in .env where DynamoDB is, create the table with `cc-backend -migrate-db`,")
    _say("add a user with `cc-backend -add-user NAME:admin:-`, and start with `cc-backend -server`.")
    return 0


def _ensure_table(site: Site) -> bool:
    """Create the table where there is none; True if it was created."""
    if site.table.exists():
        return False
    site.table.create()
    return True


def _require_authentication(site: Site, switch: str) -> None:
    if site.access_policy.authentication_disabled:
        raise ConfigurationError(f"{switch}: authentication is disabled in the configuration")


def _add_user(site: Site, argument: str) -> None:
    from clustercockpit.users.model import assignable_role

    _require_authentication(site, "-add-user")
    parts = argument.split(":", 2)
    if len(parts) != 3 or not parts[0]:
        # Never with the argument: it holds a password.
        raise ConfigurationError("-add-user: expected NAME:ROLE[,ROLE]:PASSWORD")
    name, roles, password = parts
    if password == "-":  # noqa: S105 — the sign for "ask"
        password = _asked_password(name)
    site.accounts.add(
        name, roles=frozenset(assignable_role(role) for role in roles.split(",")), password=password
    )
    _say(f"User {name} was added.")


def _asked_password(name: str) -> str:
    if sys.stdin.isatty():
        from getpass import getpass

        return getpass(f"Password of {name}: ")
    return sys.stdin.readline().rstrip("\r\n")


def _print_token(site: Site, username: str) -> None:
    from clustercockpit.access.model import Role
    from clustercockpit.errors import NotFoundError

    _require_authentication(site, "-jwt")
    account = site.accounts.get(username)
    if account is None:
        raise NotFoundError(f"-jwt: no user {username}")
    if Role.API not in account.roles:
        log.warning("user %s does not have the role api: the token opens pages, not /api", username)
    token = site.token_signer.issue(account.user())
    # Scripts read exactly this line.
    _say(f"JWT: Successfully generated JWT for user '{username}': {token}")


def _init_db(site: Site) -> None:
    """Put the archive's jobs into the table; what is there already stays as it is."""
    from clustercockpit.archive import importer

    report = importer.run(
        site,
        site.archive,
        progress=lambda r: log.info("-init-db: %d of %d jobs, %d damaged", r.done, r.total, r.failed),
    )
    for error in report.errors:
        log.warning("-init-db: passed over: %s", error)
    _say(
        f"{report.imported} jobs were added from the archive, {report.present} were there already, "
        f"{report.failed} could not be read."
    )


def _serve(site: Site, *, accept_inactive: bool, developing: bool) -> int:
    from clustercockpit.server import create_app
    from clustercockpit.serving import serve

    if accept_inactive:
        site = _accepting(site)
    site.check_start()
    if not site.table.exists():
        if not site.settings.aws_endpoint_url:
            raise ConfigurationError(
                f"there is no table {site.table.name}: deploy the stack, or create it with -migrate-db"
            )
        # A DynamoDB of one's own, as with the reference's database file.
        site.table.create()
    if developing:
        log.info("developer mode: GraphQL at /query, pages at /")
    serve(site.configuration.main, lambda: create_app(site))
    return 0


def _accepting(site: Site) -> Site:
    from clustercockpit.site import Site as Wired

    return Wired(replace(site.settings, accept_inactive_keys=True))


def _print_version() -> None:
    try:
        number = version("clustercockpit")
    except PackageNotFoundError:
        number = "not installed"
    _say("ClusterCockpit Serverless, in place of cc-backend v1.5.4")
    _say(f"Version:\t\t{number}")
    _say(f"Database schema:\t{SCHEMA_VERSION}")
    _say(f"Job archive version:\t{ARCHIVE_VERSION}")


class _PriorityFormatter(logging.Formatter):
    """Lines that systemd understands, as the reference writes them."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = next(
            (p for level, p in sorted(_PREFIXES.items(), reverse=True) if record.levelno >= level), ""
        )
        return prefix + super().format(record)


def _set_up_logging(level: int, *, dated: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PriorityFormatter("%(asctime)s %(message)s" if dated else "%(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("botocore", "boto3", "pynamodb", "urllib3", "httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
