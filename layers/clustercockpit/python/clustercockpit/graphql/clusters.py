"""The configuration of clusters and metrics. `spec/graphql-api.md` 3.5, 11.1 and 11.2."""

from __future__ import annotations

from collections.abc import Sequence

from ariadne import ObjectType

from clustercockpit.access.rules import Capability, may
from clustercockpit.clusters.model import Cluster, GlobalMetric, MetricConfig, MetricValue, SubCluster
from clustercockpit.clusters.nodelist import NodeList
from clustercockpit.errors import InvalidInputError
from clustercockpit.graphql.context import Info
from clustercockpit.graphql.roots import query

cluster_type = ObjectType("Cluster")
sub_cluster_type = ObjectType("SubCluster")
metric_config = ObjectType("MetricConfig")
metric_value = ObjectType("MetricValue")


@query.field("clusters")
def resolve_clusters(_root: None, info: Info) -> Sequence[Cluster]:
    context = info.context
    return context.site.clusters.clusters()


@query.field("globalMetrics")
def resolve_global_metrics(_root: None, info: Info) -> Sequence[GlobalMetric]:
    context = info.context
    restricted = not may(context.user, Capability.RESTRICTED_METRICS)
    return context.site.clusters.global_metrics(unrestricted_only=restricted)


@cluster_type.field("partitions")
def resolve_partitions(cluster: Cluster, info: Info) -> Sequence[str]:
    context = info.context
    return context.site.job_index.partitions(cluster.name)


@sub_cluster_type.field("numberOfNodes")
def resolve_number_of_nodes(sub_cluster: SubCluster, _info: Info) -> int:
    """0 where the list names no nodes one by one (`*`)."""
    try:
        return len(NodeList.parse(sub_cluster.nodes))
    except InvalidInputError:
        return 0


@metric_config.field("subClusters")
def resolve_overrides(_metric: MetricConfig, _info: Info) -> Sequence[object]:
    """What a subcluster shows is with its overrides applied: none are left to tell of."""
    return ()


@metric_value.field("name")
def resolve_value_name(_value: MetricValue, _info: Info) -> None:
    return None


BINDABLES = (cluster_type, sub_cluster_type, metric_config, metric_value)
