"""The manifests in deploy/ agree with the schemas of Kubernetes, with the image and with Loom's settings."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from loom.config import Settings, variable

DEPLOY = Path(__file__).parents[2] / "deploy"
VERSIONS = ["1.30", kubernetes_validate.latest_version()]
CLIENT = {"LOOM_SERVER", "LOOM_TOKEN"}


def objects(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def pods() -> list[dict[str, Any]]:
    each = [*objects("kubernetes.yaml"), *objects("kubernetes-jobs.yaml")]
    return [one["spec"]["template"]["spec"] for one in each if "template" in one["spec"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["kubernetes.yaml", "kubernetes-jobs.yaml"])
def test_manifests_are_valid_to_the_last_key(name, version):
    for each in objects(name):
        kubernetes_validate.validate(each, version, strict=True)


def test_an_unknown_key_is_invalid():
    service = objects("kubernetes.yaml")[0]
    service["spec"]["portz"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, VERSIONS[0], strict=True)


def test_variables_are_settings_and_services_set_none():
    names = {env["name"] for pod in pods() for each in pod["containers"] for env in each.get("env", [])}
    known = {variable(name) for name in Settings.model_fields} | CLIENT
    assert {name for name in names if name.startswith("LOOM_")} <= known
    assert all(pod["enableServiceLinks"] is False for pod in pods())


def test_server_is_one_process_without_rights_and_its_data_are_on_a_volume():
    _, server = objects("kubernetes.yaml")
    pod = server["spec"]["template"]["spec"]
    [container] = pod["containers"]
    [mount] = container["volumeMounts"]
    image = (DEPLOY / "Dockerfile").read_text()
    assert server["spec"]["replicas"] == 1
    assert f"LOOM_DATA={mount['mountPath']}" in image
    assert f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" in image
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["limits"]["memory"]
    assert pod["terminationGracePeriodSeconds"] > Settings().shutdown_timeout
