"""Kubernetes objects as far as our manifests use them: an unknown field, a wrong type or a missing one is an error.

Field names and types as in the API references of Kubernetes (kubernetes.io/docs/reference/kubernetes-api) and of
KubeRay 1.7 (docs.ray.io, "KubeRay CRD API reference"), written down here by hand. An API server prunes what it does
not know in silence; here a typo fails. tests/support/crds.py checks against KubeRay's schemas where somebody has them.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, TypeAdapter

Name = Annotated[StrictStr, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=63)]
Quantity = Annotated[StrictStr, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]
Strings = dict[StrictStr, StrictStr]


class Object(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Meta(Object):
    name: Name | None = None
    generateName: StrictStr | None = None
    namespace: Name | None = None
    labels: Strings = {}


class Requirement(Object):
    key: StrictStr
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[StrictStr] | None = None


class Selector(Object):
    matchLabels: Strings | None = None
    matchExpressions: list[Requirement] | None = None


class KeyRef(Object):
    name: Name
    key: StrictStr


class ValueFrom(Object):
    secretKeyRef: KeyRef


class Env(Object):
    name: Annotated[StrictStr, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
    value: StrictStr | None = None
    valueFrom: ValueFrom | None = None


class Seccomp(Object):
    type: Literal["RuntimeDefault", "Localhost", "Unconfined"]


class Capabilities(Object):
    drop: list[StrictStr]


class ContainerSecurity(Object):
    allowPrivilegeEscalation: StrictBool
    capabilities: Capabilities


class PodSecurity(Object):
    runAsNonRoot: StrictBool
    runAsUser: StrictInt
    fsGroup: StrictInt | None = None
    seccompProfile: Seccomp


class Port(Object):
    name: Annotated[StrictStr, Field(pattern=r"^[a-z0-9-]+$", max_length=15)]
    containerPort: StrictInt


class Resources(Object):
    limits: dict[StrictStr, Quantity]
    requests: dict[StrictStr, Quantity]


class Mount(Object):
    name: Name
    mountPath: StrictStr


class Probe(Object):
    exec: dict[Literal["command"], list[StrictStr]] | None = None
    tcpSocket: dict[Literal["port"], StrictInt] | None = None
    initialDelaySeconds: StrictInt = 0
    periodSeconds: StrictInt = 10


class Container(Object):
    name: Name
    image: StrictStr
    securityContext: ContainerSecurity
    resources: Resources
    command: list[StrictStr] = []
    args: list[StrictStr] = []
    env: list[Env] = []
    ports: list[Port] = []
    readinessProbe: Probe | None = None
    volumeMounts: list[Mount] = []


class EmptyDir(Object):
    medium: Literal["Memory"] | None = None
    sizeLimit: Quantity | None = None


class Claim(Object):
    claimName: Name


class Volume(Object):
    name: Name
    persistentVolumeClaim: Claim | None = None
    emptyDir: EmptyDir | None = None


class Toleration(Object):
    key: StrictStr
    operator: Literal["Exists", "Equal"]
    effect: Literal["NoSchedule", "NoExecute", "PreferNoSchedule"]


class Pod(Object):
    securityContext: PodSecurity
    containers: Annotated[list[Container], Field(min_length=1)]
    volumes: list[Volume] = []
    tolerations: list[Toleration] = []
    automountServiceAccountToken: StrictBool = True
    restartPolicy: Literal["Always", "OnFailure", "Never"] = "Always"


class Template(Object):
    metadata: Meta = Meta()
    spec: Pod


class HeadGroup(Object):
    rayStartParams: Strings
    template: Template
    serviceType: Literal["ClusterIP", "NodePort", "LoadBalancer"] | None = None


class WorkerGroup(Object):
    groupName: Name
    rayStartParams: Strings
    template: Template
    replicas: StrictInt
    minReplicas: StrictInt
    maxReplicas: StrictInt


class Autoscaler(Object):
    version: Literal["v1", "v2"]
    idleTimeoutSeconds: StrictInt
    upscalingMode: Literal["Default", "Aggressive", "Conservative"]
    securityContext: ContainerSecurity


class Auth(Object):
    mode: Literal["disabled", "token"]
    secretName: Name | None = None


class ClusterSpec(Object):
    rayVersion: StrictStr
    authOptions: Auth
    enableInTreeAutoscaling: StrictBool
    autoscalerOptions: Autoscaler
    headGroupSpec: HeadGroup
    workerGroupSpecs: Annotated[list[WorkerGroup], Field(min_length=1)]

    def pods(self) -> list[Pod]:
        return [self.headGroupSpec.template.spec, *(group.template.spec for group in self.workerGroupSpecs)]


class JobSpec(Object):
    entrypoint: StrictStr
    submissionMode: Literal["K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"]
    backoffLimit: StrictInt
    shutdownAfterJobFinishes: StrictBool
    ttlSecondsAfterFinished: StrictInt
    submitterPodTemplate: Template
    rayClusterSpec: ClusterSpec


class PolicyPort(Object):
    protocol: Literal["TCP", "UDP"]
    port: StrictInt


class Peer(Object):
    podSelector: Selector | None = None
    namespaceSelector: Selector | None = None


class Ingress(Object):
    from_: Annotated[list[Peer], Field(alias="from", min_length=1)]
    ports: list[PolicyPort] | None = None


class PolicySpec(Object):
    podSelector: Selector
    policyTypes: list[Literal["Ingress", "Egress"]]
    ingress: list[Ingress] = []


class ServicePort(Object):
    name: Name
    port: StrictInt


class ServiceSpec(Object):
    selector: Strings
    ports: list[ServicePort]
    clusterIP: Literal["None"] | None = None


class VolumeRequest(Object):
    requests: dict[Literal["storage"], Quantity]


class ClaimSpec(Object):
    accessModes: list[Literal["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"]]
    resources: VolumeRequest


class ClaimTemplate(Object):
    metadata: Meta
    spec: ClaimSpec


class DeploymentSpec(Object):
    replicas: StrictInt
    selector: Selector
    template: Template
    strategy: dict[Literal["type"], Literal["Recreate", "RollingUpdate"]]


class StatefulSetSpec(Object):
    serviceName: Name
    replicas: StrictInt
    selector: Selector
    template: Template
    volumeClaimTemplates: list[ClaimTemplate]


KINDS: dict[tuple[str, str], Any] = {
    ("v1", "Namespace"): None,
    ("v1", "PersistentVolumeClaim"): ClaimSpec,
    ("v1", "Service"): ServiceSpec,
    ("apps/v1", "Deployment"): DeploymentSpec,
    ("apps/v1", "StatefulSet"): StatefulSetSpec,
    ("networking.k8s.io/v1", "NetworkPolicy"): PolicySpec,
    ("ray.io/v1", "RayCluster"): ClusterSpec,
    ("ray.io/v1", "RayJob"): JobSpec,
}


class Manifest(Object):
    """One checked object; `spec` is of the class that KINDS names."""

    kind: StrictStr
    metadata: Meta
    spec: Any = None


def read(path: Path) -> list[Manifest]:
    """Every object of a file.

    Raises:
        ValueError: names the field that does not fit.
    """
    return [checked(tree) for tree in yaml.safe_load_all(path.read_text())]


def checked(tree: dict[str, Any]) -> Manifest:
    kind = KINDS[tree.pop("apiVersion"), tree["kind"]]
    whole = Manifest.model_validate(tree)
    return whole.model_copy(update={"spec": TypeAdapter(kind).validate_python(whole.spec)}) if kind else whole
