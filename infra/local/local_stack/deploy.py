"""`make deploy-local`: the template built and deployed by SAM to an emulator, the metric store beside it.

The deployment tests use the same stack: everything goes through its gateway, nothing through ASGI directly.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from clustercockpit.settings import Settings
from clustercockpit.site import Site
from local_stack import demo, programs, sam
from local_stack.configuration import write_configuration
from local_stack.console import LocalStackError, say
from local_stack.emulator import CREDENTIALS, Emulator
from local_stack.keys import local_keys
from local_stack.options import LOOPBACK, ROOT, Options, Ports, check_ports_free
from local_stack.stack import ARCHIVE_BUCKET, DATA_BUCKET, auth_secret
from local_stack.supervision import Supervisor


@dataclass
class DeployedStack:
    """Always from fresh state: what a failed deployment leaves behind would be in the way."""

    options: Options
    build_folder: Path
    supervisor: Supervisor = field(default_factory=Supervisor)
    outputs: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def gateway_host(self) -> str:
        """The Host header by which the emulator knows the API; browsers and curl resolve it themselves."""
        return self.outputs["Url"].removeprefix("http://")

    def start(self) -> None:
        options = self.options
        shutil.rmtree(options.var, ignore_errors=True)
        options.var.mkdir(parents=True)
        keys = local_keys(options.var / ".env")
        write_configuration(options)
        emulator = Emulator(options)
        self.supervisor.start(emulator.program())
        say("sam deploy ...")
        self.outputs = sam.deploy(
            emulator,
            self.build_folder,
            {
                "ArchiveBucketName": ARCHIVE_BUCKET,
                "DataBucketName": DATA_BUCKET,
                "AuthSecretArn": auth_secret(emulator, keys),
                # Deployed, though the emulator shows nothing of its behaviour
                "ContainerService": "true",
                "MetricStoreUrl": options.metric_store_url,
                # The emulator's CloudFormation does not know VPC links
                "NodeIngest": "none",
                "ArchiveDelaySeconds": "5",
                "ArchiveRetrySeconds": "60",
            },
        )
        self.environment = programs.environment(options, CREDENTIALS, keys, self.outputs)
        site = self.site()
        site.data_objects.put("config/config.json", (options.var / "config.json").read_bytes())
        demo.add_users(site)
        demo.install_clusters(site)
        self.supervisor.start(programs.nats(options, self.environment))
        self.supervisor.start(programs.metric_store(options, self.environment))

    def site(self) -> Site:
        import os

        os.environ.update({**CREDENTIALS, "AWS_ENDPOINT_URL": self.options.aws_url})
        return Site(Settings.from_environment(self.environment))

    def stop(self) -> None:
        self.supervisor.stop()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="local_stack.deploy")
    parser.add_argument("--port", type=int, default=8080, help="the emulator's is five above it")
    options = Options(Ports(parser.parse_args().port), LOOPBACK, var=ROOT / "var" / "deployed")
    stack = DeployedStack(options, ROOT / ".aws-sam" / "local")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        check_ports_free(options)
        say("sam build ...")
        sam.build(stack.build_folder, host=True)
        stack.start()
        print(
            f"\n  gateway:  {stack.outputs['Url']}\n  AWS:      {options.aws_url}"
            f"\n  log in:   admin / {demo.PASSWORD} (POST {stack.outputs['Url']}/login/)"
            "\n  stop:     Ctrl-C\n",
            flush=True,
        )
        stack.supervisor.watch()
    except KeyboardInterrupt:
        print(flush=True)
    except LocalStackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        stack.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
