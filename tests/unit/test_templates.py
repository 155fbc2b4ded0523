"""The templates against the code they deploy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from clustercockpit.settings import Settings
from clustercockpit.storage.dynamodb.table import TABLE_DEFINITION, TTL_ATTRIBUTE

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / "template.yaml", *sorted((ROOT / "infra").glob("*.yaml"))]


class _Loader(yaml.SafeLoader):
    pass


def _function(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    """`!GetAtt A.B` → {"GetAtt": "A.B"}"""
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    return {suffix: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _function)


def load(file: Path) -> dict[str, Any]:
    return yaml.load(file.read_text(), Loader=_Loader)  # a subclass of the safe loader


def resources(*types: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for file in FILES:
        for name, resource in load(file)["Resources"].items():
            if not types or resource["Type"] in types:
                yield f"{file.name}:{name}", resource


def test_the_table_is_the_one_the_code_expects() -> None:
    table = load(ROOT / "infra/data.yaml")["Resources"]["Table"]["Properties"]
    for key, value in TABLE_DEFINITION.items():
        assert table[key] == value, key
    assert table["TimeToLiveSpecification"] == {"AttributeName": TTL_ATTRIBUTE, "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_what_holds_data_outlives_the_stack() -> None:
    kept = [r for _, r in resources("AWS::DynamoDB::Table", "AWS::S3::Bucket")]
    kept.append(load(ROOT / "template.yaml")["Resources"]["Data"])
    assert len(kept) == 4
    for resource in kept:
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")


def _statements(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if value.get("Effect") == "Allow" and "Action" in value:
            yield value
        for item in value.values():
            yield from _statements(item)
    elif isinstance(value, list):
        for item in value:
            yield from _statements(item)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def test_no_policy_allows_more_than_it_names() -> None:
    seen = 0
    for where, resource in resources():
        for statement in _statements(resource):
            seen += 1
            assert not [a for a in _texts(statement["Action"]) if "*" in a], where
            for text in _texts(statement.get("Resource", "none")):
                # A wildcard may stand for the keys below a named prefix of a named bucket, nothing else
                below = re.fullmatch(r"arn:\S+:s3:::\$\{\w+\}/\S*\*\S*", text)
                assert "*" not in text or below, (where, text)
    assert seen > 10


def _variables() -> Iterator[tuple[str, str]]:
    template = load(ROOT / "template.yaml")
    for name in template["Globals"]["Function"]["Environment"]["Variables"]:
        yield "Globals", name
    for where, resource in resources("AWS::Serverless::Function"):
        for name in resource["Properties"].get("Environment", {}).get("Variables", {}):
            yield where, name
    for where, resource in resources("AWS::ECS::TaskDefinition"):
        for container in resource["Properties"]["ContainerDefinitions"]:
            for variable in [*container["Environment"], *container.get("Secrets", [])]:
                yield f"{where}:{container['Name']}", variable["Name"]


def test_every_variable_is_one_that_the_settings_read() -> None:
    class Recording(dict[str, str]):
        asked: set[str] = set()

        def get(self, key: str, default: Any = None) -> Any:
            self.asked.add(key)
            return default

    Settings.from_environment(Recording())
    unread = {(where, name) for where, name in _variables() if name not in Recording.asked}
    assert not unread


def test_no_secret_stands_in_a_functions_environment() -> None:
    for where, name in _variables():
        if "TaskDefinition" not in where:
            assert not re.search(r"PRIVATE|SESSION_KEY|PASSWORD|CLIENT_SECRET|JWT_", name), (where, name)


def test_the_container_is_one_writer() -> None:
    ((_, service),) = resources("AWS::ECS::Service")
    properties = service["Properties"]
    assert properties["DesiredCount"] == 1
    assert properties["DeploymentConfiguration"] == {"MinimumHealthyPercent": 0, "MaximumPercent": 100}
    ((_, task),) = resources("AWS::ECS::TaskDefinition")
    held = {s["Name"] for c in task["Properties"]["ContainerDefinitions"] for s in c.get("Secrets", [])}
    assert held == {"JWT_PUBLIC_KEY"}  # it verifies tokens, it never issues them


def test_every_log_group_forgets() -> None:
    groups = list(resources("AWS::Logs::LogGroup"))
    assert len(groups) >= 3
    for where, group in groups:
        assert group["Properties"]["RetentionInDays"], where


@pytest.mark.parametrize("what", ["Errors", "ApproximateAgeOfOldestMessage", "IndexWatermarkAge"])
def test_somebody_hears_of_it(what: str) -> None:
    alarms = [a["Properties"] for _, a in resources("AWS::CloudWatch::Alarm")]
    assert [a for a in alarms if a["MetricName"] == what and a["AlarmActions"]]


def test_each_function_has_a_folder_that_builds_it() -> None:
    for where, function in resources("AWS::Serverless::Function"):
        name = where.split(":")[1]
        folder = ROOT / function["Properties"]["CodeUri"]
        assert f"build-{name}:" in (folder / "Makefile").read_text()
        assert "def handler" in (handler := (folder / "handler.py").read_text()) or "handler = " in handler
        assert len(handler.splitlines()) < 30, f"{folder}: logic belongs into the library"


def _policies(function: dict[str, Any]) -> tuple[set[str], list[dict[str, Any]]]:
    """Managed policies by name, and all statements, of a function."""
    managed = load(ROOT / "template.yaml")["Resources"]
    names: set[str] = set()
    statements: list[dict[str, Any]] = []
    for policy in function["Properties"]["Policies"]:
        if "Ref" in policy:
            names.add(policy["Ref"])
            statements.extend(_statements(managed[policy["Ref"]]))
        else:
            statements.extend(_statements(policy))
    return names, statements


def _actions(function: dict[str, Any]) -> set[str]:
    return {action for statement in _policies(function)[1] for action in _texts(statement["Action"])}


def _functions() -> dict[str, dict[str, Any]]:
    return {where.split(":")[1]: it for where, it in resources("AWS::Serverless::Function")}


def test_who_is_told_where_the_keys_lie_may_read_them_and_nobody_else() -> None:
    for name, function in _functions().items():
        variables = function["Properties"].get("Environment", {}).get("Variables", {})
        told = variables.get("CC_AUTH_SECRET_ARN", "from the globals") != ""
        assert told == ("ReadKeys" in _policies(function)[0]), name


def test_functions_may_do_what_their_code_does() -> None:
    allowed = {name: _actions(function) for name, function in _functions().items()}
    # Building the index anew reads the whole table, and puts its head
    assert allowed["IndexBuilder"] >= {
        "dynamodb:Scan",
        "dynamodb:PutItem",
        "s3:DeleteObject",
        "s3:ListBucket",
    }
    assert not allowed["IndexBuilder"] & {"dynamodb:UpdateItem", "dynamodb:DeleteItem", "sqs:SendMessage"}
    assert [name for name in allowed if "dynamodb:Scan" in allowed[name]] == ["IndexBuilder"]
    # The sweeper looks and hands over
    assert not [a for a in allowed["Sweeper"] if re.search("dynamodb:(Put|Update|Delete|BatchWrite)", a)]
    assert "sqs:SendMessage" in allowed["Sweeper"]
    assert "sqs:SendMessage" in allowed["Api"]


def test_figures_of_ours_are_sent_by_someone() -> None:
    """An alarm on a figure of ours that nobody sends would ring for ever, or never."""
    code = "\n".join(file.read_text() for file in (ROOT / "layers/clustercockpit/python").rglob("*.py"))
    sent = set(re.findall(r'figures\.send\(\s*"(\w+)"', code))
    for where, log_filter in resources("AWS::Logs::MetricFilter"):
        assert log_filter["Properties"]["FilterPattern"].strip('"') in code, where
        sent |= {made["MetricName"] for made in log_filter["Properties"]["MetricTransformations"]}
    alarms = [it["Properties"] for _, it in resources("AWS::CloudWatch::Alarm")]
    wanted = {alarm["MetricName"] for alarm in alarms if alarm["Namespace"] == "ClusterCockpit"}
    assert wanted == sent == {"IndexWatermarkAge", "ClockRefusals"}
