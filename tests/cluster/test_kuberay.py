"""The Kubernetes manifests: fields that exist, files that agree with each other, and closed by default."""

import copy
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import ValidationError

from pipelines.__main__ import _parser
from pipelines.config.parse import load
from tests.support import crds
from tests.support.kubernetes import ClusterSpec, JobSpec, Manifest, Pod, PolicySpec, checked, read

FOLDER = Path(__file__).parents[2] / "cluster" / "kuberay"
IMAGE = "REGISTRY/selfray:0.1.0"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")


@pytest.fixture(scope="module")
def objects() -> list[Manifest]:
    return [found for path in FILES for found in read(path)]


@pytest.fixture(scope="module")
def pods(objects) -> list[Pod]:
    found: list[Pod] = []
    for each in objects:
        if isinstance(each.spec, ClusterSpec):
            found += each.spec.pods()
        elif isinstance(each.spec, JobSpec):
            found += [each.spec.submitterPodTemplate.spec, *each.spec.rayClusterSpec.pods()]
        elif hasattr(each.spec, "template"):
            found.append(each.spec.template.spec)
    return found


def one(objects: list[Manifest], kind: str) -> Manifest:
    (found,) = (each for each in objects if each.kind == kind)
    return found


def test_the_check_sees_typos_and_wrong_types():
    (tree,) = yaml.safe_load_all((FOLDER / "raycluster.yaml").read_text())
    checked(copy.deepcopy(tree))
    for place, value in (("rayversion", "2.60.0"), ("authOptions", {"mode": "tokens"}), ("rayVersion", 2.6)):
        broken = copy.deepcopy(tree)
        broken["spec"][place] = value
        with pytest.raises(ValidationError, match=place):
            checked(broken)


QUANTITY = {"anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^[0-9]+(Gi)?$"}
CRD = {
    "kind": "CustomResourceDefinition",
    "spec": {
        "group": "example.org",
        "names": {"kind": "Thing"},
        "versions": [
            {
                "name": "v1",
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "metadata": {"type": "object"},
                            "properties": {
                                "type": "object",
                                "required": ["size"],
                                "properties": {
                                    "size": {**QUANTITY, "x-kubernetes-int-or-string": True},
                                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                                    "items": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
                                    "any": {"properties": {}, "x-kubernetes-preserve-unknown-fields": True},
                                },
                            },
                        },
                    }
                },
            }
        ],
    },
}


def test_a_schema_is_held_against_an_object_strictly(tmp_path):
    (tmp_path / "thing.yaml").write_text(yaml.safe_dump(CRD))
    (schema,) = crds.load(tmp_path).values()
    whole = {"size": "5Gi", "labels": {"x": "y"}, "items": ["a"], "any": {"x": 1}}
    for good in (whole, {**whole, "size": 5}):
        assert crds.faults(schema, {"metadata": {"name": "x"}, "properties": good}) == []
    for bad, words in (
        ({"labels": {}}, "properties: 'size' is a required property"),
        ({**whole, "size": "5 Gi"}, "properties.size: '5 Gi' does not match"),
        ({**whole, "labels": {"x": 1}}, "properties.labels.x: 1 is not of type 'string'"),
        ({**whole, "items": ["c"]}, "properties.items.0: 'c' is not one of"),
        ({**whole, "sise": 5}, "properties: Additional properties are not allowed ('sise' was unexpected)"),
    ):
        (fault,) = crds.faults(schema, {"properties": bad})
        assert fault.startswith(words)


@pytest.fixture(scope="module")
def trees() -> list[dict[str, Any]]:
    return [tree for path in FILES for tree in yaml.safe_load_all(path.read_text())]


def as_pods(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Pod templates anywhere in an object, each as a Pod of its own."""
    for key, value in tree.items():
        if key in ("template", "submitterPodTemplate"):
            yield {"apiVersion": "v1", "kind": "Pod", **value}
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                yield from as_pods(inner)


def test_kubernetes_own_schemas_take_all_that_is_its_own(trees):
    """Objects of KubeRay's kinds as far as their pods; unknown fields are errors."""
    core = [tree for tree in trees if not tree["apiVersion"].startswith("ray.io/")]
    pods = [pod for tree in trees for pod in as_pods(tree)]
    assert len(core) == 10 and len(pods) == 9
    for tree in (*core, *pods):
        kubernetes_validate.validate(tree, kubernetes_validate.latest_version(), strict=True)
    broken = copy.deepcopy(pods[0])
    broken["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError, match="imagePullPolice"):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.skipif("KUBERAY_CRDS" not in os.environ, reason="KUBERAY_CRDS names no folder of the operator's CRDs")
def test_the_operators_own_schemas_take_them(trees):
    schemas = crds.load(Path(os.environ["KUBERAY_CRDS"]))
    ours = [tree for tree in trees if tree["apiVersion"].startswith("ray.io/")]
    assert {tree["kind"] for tree in ours} == {"RayCluster", "RayJob"}
    for tree in ours:
        assert crds.faults(schemas[tree["apiVersion"], tree["kind"]], tree) == []


def test_everything_but_the_job_is_applied_together(objects):
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert {*listed["resources"], "rayjob.yaml"} == {path.name for path in FILES}
    assert listed["namespace"] == one(objects, "Namespace").metadata.name == "selfray"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here")
def test_kustomize_renders_what_is_listed(objects):
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rendered = [checked(tree) for tree in yaml.safe_load_all(done.stdout)]
    named = sorted((each.kind, each.metadata.name) for each in rendered)
    assert named == sorted((each.kind, each.metadata.name) for each in objects if each.kind != "RayJob")
    assert all(each.metadata.namespace == "selfray" for each in rendered if each.kind != "Namespace")


def test_the_job_runs_on_the_cluster_that_is_described(objects):
    assert one(objects, "RayJob").spec.rayClusterSpec == one(objects, "RayCluster").spec
    job = one(objects, "RayJob").spec
    assert job.shutdownAfterJobFinishes and job.backoffLimit >= 1


def test_the_job_is_a_command_that_parses(objects):
    command = shlex.split(one(objects, "RayJob").spec.entrypoint)
    assert command[0] == "selfray"
    options = _parser().parse_args(command[1:])
    config = load(options.recipe, options.set)
    assert config.ray.address == "auto" and str(config.storage).startswith("/shared/")
    service = next(each for each in objects if each.kind == "Service" and each.metadata.name == "mlflow")
    assert config.tracking.uri == f"http://mlflow:{service.spec.ports[0].port}"


def test_gpus_train_cpus_read_and_the_head_does_neither(objects):
    spec = one(objects, "RayCluster").spec
    assert spec.headGroupSpec.rayStartParams["num-cpus"] == "0"
    groups = {group.groupName: group for group in spec.workerGroupSpecs}
    gpus = {
        name: group.template.spec.containers[0].resources.limits.get("nvidia.com/gpu") for name, group in groups.items()
    }
    assert gpus == {"gpu": "1", "cpu": None}
    assert all(group.minReplicas <= group.replicas <= group.maxReplicas for group in groups.values())
    mounts = {mount.mountPath for pod in spec.pods() for mount in pod.containers[0].volumeMounts}
    assert mounts == {"/shared", "/dev/shm"}


def test_versions_and_images_are_ours(objects, pods):
    project = (FOLDER.parents[1] / "pyproject.toml").read_text()
    assert f']=={one(objects, "RayCluster").spec.rayVersion}"' in project
    assert f'version = "{IMAGE.rpartition(":")[2]}"' in project
    images = {container.image for pod in pods for container in pod.containers}
    assert {image for image in images if not image.startswith("postgres:")} == {IMAGE}


def test_every_pod_obeys_the_restricted_standard(objects, pods):
    assert one(objects, "Namespace").metadata.labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert len(pods) == 9
    for pod in pods:
        assert pod.securityContext.runAsNonRoot and pod.securityContext.runAsUser > 0
        assert pod.securityContext.seccompProfile.type == "RuntimeDefault"
        for container in pod.containers:
            assert not container.securityContext.allowPrivilegeEscalation
            assert container.securityContext.capabilities.drop == ["ALL"]
    heads = [pod for pod in pods if pod.containers[0].name == "ray-head"]
    assert all(pod.automountServiceAccountToken == (pod in heads) for pod in pods), "only the autoscaler needs one"


def test_ray_wants_a_token_and_nothing_is_reachable_from_outside(objects):
    for spec in (one(objects, "RayCluster").spec, one(objects, "RayJob").spec.rayClusterSpec):
        assert spec.authOptions.mode == "token" and spec.headGroupSpec.serviceType == "ClusterIP"
    policies = {each.metadata.name: each.spec for each in objects if each.kind == "NetworkPolicy"}
    everything = policies.pop("nothing-comes-in")
    assert everything.podSelector.model_dump(exclude_none=True) == {} and everything.ingress == []
    assert set(policies) == {"ray-nodes", "mlflow", "postgres"}
    for name, policy in policies.items():
        assert isinstance(policy, PolicySpec) and policy.policyTypes == ["Ingress"]
        for rule in policy.ingress:
            assert all(peer.podSelector for peer in rule.from_), f"{name}: who comes in is named"
            inside = all(peer.podSelector == policy.podSelector for peer in rule.from_)
            assert inside or rule.ports, f"{name}: on a port that is named"
    (to_mlflow,) = policies["mlflow"].ingress
    assert [peer.podSelector for peer in to_mlflow.from_] == [policies["ray-nodes"].podSelector]
    job = one(objects, "RayJob").spec
    labels = job.submitterPodTemplate.metadata.labels
    assert any(peer.podSelector.matchLabels == labels for rule in policies["ray-nodes"].ingress for peer in rule.from_)


def test_selectors_find_what_they_select(objects):
    templates = {k.metadata.name: k.spec.template.metadata.labels for k in objects if hasattr(k.spec, "strategy")}
    templates |= {k.metadata.name: k.spec.template.metadata.labels for k in objects if k.kind == "StatefulSet"}
    for each in objects:
        if each.kind == "Service":
            assert each.spec.selector == templates[each.metadata.name]
        if each.kind == "NetworkPolicy" and each.metadata.name in templates:
            assert each.spec.podSelector.matchLabels == templates[each.metadata.name]


def test_no_secret_is_in_the_files(objects, pods):
    secrets = [e for pod in pods for c in pod.containers for e in c.env if e.valueFrom]
    assert {e.valueFrom.secretKeyRef.name for e in secrets if e.valueFrom} == {
        "mlflow-server", "mlflow-bucket", "mlflow-trainer"
    }  # fmt: skip
    readme = (FOLDER / "README.md").read_text()
    for env in secrets:
        reference = env.valueFrom.secretKeyRef
        assert f"secret generic {reference.name}" in readme and reference.key in readme, (
            "the README says how it is made"
        )
    for pod in pods:
        for env in (e for c in pod.containers for e in c.env if e.value):
            assert not any(word in env.name for word in ("PASSWORD", "SECRET", "TOKEN", "KEY")), env.name
            assert ":$(" in env.value if "@" in env.value else True


def test_volumes_are_there(objects, pods):
    claims = {each.metadata.name for each in objects if each.kind == "PersistentVolumeClaim"}
    for pod in pods:
        volumes = {volume.name for volume in pod.volumes} | {"data"}
        assert {mount.name for c in pod.containers for mount in c.volumeMounts} <= volumes
        assert {v.persistentVolumeClaim.claimName for v in pod.volumes if v.persistentVolumeClaim} <= claims
