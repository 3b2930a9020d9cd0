"""The Helm chart: what it renders is valid for Kubernetes, confined, and runs commands that exist."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helm_python import Chart
from helm_python.errors import HelmError
from typer.testing import CliRunner

from dialer import cli
from dialer.settings import Settings

CHART = Path(__file__).parents[1] / "deploy/helm/dialer"
# The oldest one that the chart accepts, and the newest one that the schemas are of.
KUBERNETES = ("1.30", "1.37")
LEAST: Mapping[str, Any] = {"secret": {"name": "dialer"}}
EVERYTHING: Mapping[str, Any] = {
    "image": {"repository": "registry.example/dialer", "digest": f"sha256:{'0' * 64}", "pullSecrets": ["pull"]},
    "secret": {"name": "dialer", "brokerUrl": "broker", "metricsToken": "token", "ca": "ca.pem"},
    "trunkSecret": {"name": "trunks", "variables": ["TRUNK_TWILIO_TOKEN"]},
    "settings": {"PUBLIC_URL": "https://dialer.example.com", "WORKER_THREADS": 8, "WEBHOOK_ALLOW_PRIVATE": True},
    "environment": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
    "api": {"ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls", "annotations": {"a": "b"}}},
    "worker": {"autoscaling": {"enabled": True}},
    "bulkWorker": {"replicas": 2},
    "networkPolicy": {
        "apiFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
    },
    "nodeSelector": {"pool": "calls"},
    "tolerations": [{"key": "calls", "operator": "Exists"}],
    "podAnnotations": {"a": "b"},
}


def rendered(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    with Chart.load(CHART) as chart:
        manifests = chart.render(dict(values), name="x", namespace="calls")
    texts = [text for path, text in manifests.items() if path.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def containers(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield the name, the pod and the container of each Deployment and Job."""
    for document in documents:
        if document["kind"] in ("Deployment", "Job"):
            pod = document["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            yield container["name"], pod, container


@pytest.mark.parametrize("values", [LEAST, EVERYTHING])
def test_everything_that_is_rendered_is_valid_for_kubernetes(values: Mapping[str, Any]) -> None:
    documents = rendered(values)
    for document in documents:
        for version in KUBERNETES:
            kubernetes_validate.validate(document, version, strict=True)
    kinds = {document["kind"] for document in documents}
    assert kinds >= {"Deployment", "Job", "PodDisruptionBudget", "NetworkPolicy", "Service"}


@pytest.mark.parametrize("values", [LEAST, EVERYTHING])
def test_every_pod_is_confined_and_has_its_secrets_as_files(values: Mapping[str, Any]) -> None:
    for name, pod, container in containers(rendered(values)):
        assert pod["securityContext"]["runAsNonRoot"], name
        assert not pod["automountServiceAccountToken"], name
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"], name
        assert not security["allowPrivilegeEscalation"], name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        mounts = tuple(mount["mountPath"] for mount in container["volumeMounts"])
        variables = {entry["name"]: entry["value"] for entry in container["env"]}
        files = {variable: value for variable, value in variables.items() if variable.endswith("_FILE")}
        assert {"DIALER_DATABASE_URL_FILE", "DIALER_REDIS_URL_FILE"} <= files.keys(), name
        assert all(path.startswith(mounts) for path in files.values()), name
        known = {f"DIALER_{field.upper()}" for field in Settings.model_fields}
        others = {"TRUNK_TWILIO_TOKEN", "OTEL_EXPORTER_OTLP_ENDPOINT"}
        assert {variable.removesuffix("_FILE") for variable in variables} - known <= others, name


def test_every_container_runs_a_command_that_exists() -> None:
    for name, _, container in containers(rendered(EVERYTHING)):
        # Unknown commands and options fail before the help is printed.
        assert CliRunner().invoke(cli.app, [*container["args"], "--help"]).exit_code == 0, name


def test_a_rollout_and_a_drain_leave_a_process_of_each_kind_and_time_to_finish() -> None:
    deployments = {doc["metadata"]["name"]: doc["spec"] for doc in rendered(LEAST) if doc["kind"] == "Deployment"}
    assert deployments.keys() == {f"x-dialer-{kind}" for kind in ("api", "worker", "beat", "listener")}
    for name, spec in deployments.items():
        assert spec["replicas"] >= 2, name
        assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}, name
    # The longest task takes less than a minute, and an endpoint of webhooks answers within 20 s.
    assert deployments["x-dialer-worker"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 80


def test_workers_are_scaled_by_what_is_due_or_by_processors_and_the_deployment_leaves_the_number_to_that() -> None:
    scalers = {
        "ScaledObject": {"keda": {"enabled": True}},
        "HorizontalPodAutoscaler": {"autoscaling": {"enabled": True}},
    }
    for kind, worker in scalers.items():
        documents = {(doc["kind"], doc["metadata"]["name"]): doc for doc in rendered({**LEAST, "worker": worker})}
        scaler = documents[kind, "x-dialer-worker"]
        target = documents["Deployment", scaler["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in target["spec"]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({}, "secret"),
        ({"secret": {"name": ""}}, "secret/name"),
        ({**LEAST, "workers": 3}, "workers"),
        ({**LEAST, "settings": {"DATABASE_URL": "postgresql://secret"}}, "DATABASE_URL"),
        ({**LEAST, "environment": {"DIALER_API_KEY": "secret"}}, "DIALER_API_KEY"),
        ({**LEAST, "image": {"repository": "dialer", "digest": "latest"}}, "digest"),
        ({**LEAST, "trunkSecret": {"variables": ["TRUNK_A"]}}, "trunkSecret.name is required"),
    ],
)
def test_wrong_values_are_refused_by_name(wrong: Mapping[str, Any], named: str) -> None:
    with pytest.raises(HelmError) as refused:
        rendered(wrong)
    assert named in str(refused.value)
