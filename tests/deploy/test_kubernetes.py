"""The Kubernetes manifests: valid by Kubernetes' own schemas, unprivileged, and what they name exists."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from node.config import load_config

FOLDER = Path(__file__).resolve().parents[2] / "deploy/kubernetes"
KUBERNETES = "1.33"  # autoscaling/v2 and policy/v1 are there since 1.25


def kustomization() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    return tree


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    return [item for name in kustomization()["resources"] for item in yaml.safe_load_all((FOLDER / name).read_text())]


def pods(manifests: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for item in manifests:
        if item["kind"] in ("Deployment", "StatefulSet"):
            yield item["metadata"]["name"], item["spec"]["template"]


def test_every_file_is_part_of_it() -> None:
    named = {*kustomization()["resources"], "kustomization.yaml", "config.yaml"}
    assert {path.name for path in FOLDER.glob("*.yaml")} == named


def test_manifests_are_valid(manifests: list[dict[str, Any]]) -> None:
    assert len(manifests) > 10
    for item in manifests:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)


def test_a_wrong_manifest_is_found(manifests: list[dict[str, Any]]) -> None:
    scaler = next(item for item in manifests if item["kind"] == "HorizontalPodAutoscaler")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(scaler | {"spec": {"maxReplica": 8}}, KUBERNETES, strict=True)


def test_pods_keep_to_the_restricted_rules(manifests: list[dict[str, Any]]) -> None:
    for name, template in pods(manifests):
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name
            assert {"livenessProbe", "readinessProbe"} <= set(container), name


def test_selectors_volumes_and_ports_meet(manifests: list[dict[str, Any]]) -> None:
    labels, ports = {}, {}
    for name, template in pods(manifests):
        labels[name] = template["metadata"]["labels"]
        containers = template["spec"]["containers"]
        ports[name] = {port["name"] for c in containers for port in c.get("ports", ())}
        claims = next(m for m in manifests if m["metadata"]["name"] == name and "spec" in m and "template" in m["spec"])
        have = {v["name"] for v in template["spec"].get("volumes", ())}
        have |= {claim["metadata"]["name"] for claim in claims["spec"].get("volumeClaimTemplates", ())}
        assert {m["name"] for c in containers for m in c["volumeMounts"]} == have, name
    for item in manifests:
        if item["kind"] == "Service":
            (target,) = [name for name, found in labels.items() if found == item["spec"]["selector"]]
            assert {port["targetPort"] for port in item["spec"]["ports"]} <= ports[target]
        if item["kind"] == "HorizontalPodAutoscaler":
            assert item["spec"]["scaleTargetRef"]["name"] in labels


def test_the_configuration_is_taken(tmp_path: Path) -> None:
    secret = tmp_path / "database-url"
    secret.write_text("postgresql+psycopg://ironnode:pw@postgres/ironnode")
    file = tmp_path / "config.yaml"
    file.write_text((FOLDER / "config.yaml").read_text().replace("/run/secrets/ironnode/database-url", str(secret)))
    assert load_config(file).database.url == secret.read_text()
