"""Deploys the project's own templates to the emulator, through the CloudFormation API.

`sam build` and `sam deploy` take half a minute and are what `make deploy-local` shows; here each function is
a zip of its handler alone, and `PYTHONPATH` leads it to the project's environment. Nothing else differs.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from local_stack.console import LocalStackError
from local_stack.emulator import CREDENTIALS, REGION, Emulator, python_path
from local_stack.options import ROOT

STACK = "clustercockpit"
PARTS_BUCKET = "clustercockpit-deployment"


def client(emulator: Emulator, service: str) -> Any:
    import boto3
    from botocore.config import Config

    make: Any = boto3.client  # its overloads know only literal service names
    return make(
        service,
        region_name=REGION,
        endpoint_url=emulator.options.aws_url,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}, read_timeout=120),
    )


def thin_zip(folder: Path) -> bytes:
    """A function's handler alone, byte for byte the same for the same content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in sorted(folder.glob("*.py")):
            archive.writestr(zipfile.ZipInfo(file.name, (1980, 1, 1, 0, 0, 0)), file.read_bytes())
        archive.writestr(zipfile.ZipInfo("LOCAL", (1980, 1, 1, 0, 0, 0)), "code is found by PYTHONPATH\n")
    return buffer.getvalue()


class Package:
    """The templates with addresses in place of paths, and the objects that stand at the addresses."""

    def __init__(self, endpoint: str, python_path: str) -> None:
        self.endpoint = endpoint
        self.objects: dict[str, bytes] = {}
        self.python_path = python_path
        self.template = self._template(ROOT / "template.yaml")

    def _template(self, file: Path) -> str:
        def nested(match: re.Match[str]) -> str:
            path = (file.parent / match["path"]).resolve()
            key = self._keep(path.name, self._template(path).encode())
            return f"{match['key']}{self.endpoint}/{PARTS_BUCKET}/{key}"

        def code(match: re.Match[str]) -> str:
            path = (file.parent / match["path"]).resolve()
            key = self._keep(f"{path.name}.zip", thin_zip(path))
            return f"{match['key']}s3://{PARTS_BUCKET}/{key}"

        text = file.read_text()
        text = re.sub(r"(?m)^(?P<key> +TemplateURL: )(?P<path>\S+)$", nested, text)
        text = re.sub(r"(?m)^(?P<key> +(?:CodeUri|ContentUri): )(?P<path>\S+)$", code, text)
        # Functions find their code in the project's environment, and the built pages in the tree
        text = re.sub(
            r"(?m)^( +)CC_LOG_LEVEL: !Ref LogLevel$", rf"\g<0>\n\1PYTHONPATH: {self.python_path}", text
        )
        # One machine is not twenty; the emulator starts a process for each
        text = text.replace("MaximumConcurrency: 20", "MaximumConcurrency: 2")
        return text.replace("CC_WEB_ROOT: web", f"CC_WEB_ROOT: {ROOT / 'web' / 'dist'}")

    def _keep(self, name: str, content: bytes) -> str:
        key = f"{hashlib.sha256(content).hexdigest()[:16]}/{name}"
        self.objects[key] = content
        return key


def deploy(emulator: Emulator, parameters: Mapping[str, str]) -> dict[str, str]:
    """Create or update the stack; nothing is done where the emulator holds exactly this already.

    Returns the stack's outputs. Raises LocalStackError with the reason of the first failed resource.
    """
    package = Package(emulator.options.aws_url, python_path())
    mark = hashlib.sha256(
        json.dumps([package.template, sorted(package.objects), dict(parameters)]).encode()
    ).hexdigest()
    if emulator.deployed.is_file():
        kept = json.loads(emulator.deployed.read_text())
        if kept.get("mark") == mark:
            outputs: dict[str, str] = kept["outputs"]
            return outputs
    s3 = client(emulator, "s3")
    ensure_bucket(s3, PARTS_BUCKET)
    for key, content in package.objects.items():
        s3.put_object(Bucket=PARTS_BUCKET, Key=key, Body=content)
    cloudformation = client(emulator, "cloudformation")
    arguments: dict[str, Any] = {
        "StackName": STACK,
        "TemplateBody": package.template,
        "Parameters": [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    }
    if _status(cloudformation) is None:
        cloudformation.create_stack(**arguments)
    else:
        try:
            cloudformation.update_stack(**arguments)
        except cloudformation.exceptions.ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise
    outputs = _wait(cloudformation)
    kept = {"mark": mark, "outputs": outputs, "data_resources": parameters["DataResources"]}
    emulator.deployed.write_text(json.dumps(kept))
    return outputs


def ensure_bucket(s3: Any, name: str) -> None:
    try:
        s3.head_bucket(Bucket=name)
    except s3.exceptions.ClientError:
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})


def data_resources(emulator: Emulator, buckets: Sequence[str]) -> str:
    """`create`, or `attach` where the buckets are there but the stack that made them is lost: then they are
    taken over as a site would take over restored ones."""
    if emulator.deployed.is_file():
        kept: str = json.loads(emulator.deployed.read_text())["data_resources"]
        return kept
    s3 = client(emulator, "s3")
    present = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    if not present & set(buckets):
        return "create"
    for bucket in buckets:
        ensure_bucket(s3, bucket)
    return "attach"


def stack_outputs(emulator: Emulator) -> dict[str, str]:
    """Of the stack as it stands. Raises LocalStackError where it did not come to be."""
    return _wait(client(emulator, "cloudformation"))


def _status(cloudformation: Any) -> dict[str, Any] | None:
    try:
        stack: dict[str, Any] = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
    except cloudformation.exceptions.ClientError:
        return None
    return None if stack["StackStatus"] == "DELETE_COMPLETE" else stack


def _wait(cloudformation: Any, seconds: float = 180.0) -> dict[str, str]:
    deadline = time.monotonic() + seconds
    while True:
        stack = _status(cloudformation)
        status = stack["StackStatus"] if stack else "GONE"
        if stack and status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
        if not status.endswith("_IN_PROGRESS") or time.monotonic() > deadline:
            raise LocalStackError(f"deploying the template ended in {status}: {_reason(cloudformation)}")
        time.sleep(0.1)


def _reason(cloudformation: Any) -> str:
    try:
        events = cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
    except cloudformation.exceptions.ClientError:
        return "no events"
    failed = [event for event in events if event["ResourceStatus"].endswith("FAILED")]
    first = min(failed, key=lambda event: event["Timestamp"], default=None)
    if first is None:
        return "no failed resource is named"
    return f"{first['LogicalResourceId']}: {first.get('ResourceStatusReason', '')}"
