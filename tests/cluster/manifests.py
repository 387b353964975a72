"""Kubernetes manifests, checked as its API server checks them; a field that it does not know is refused, too."""

import gzip
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

DEFINITIONS = Path(__file__).parent / "definitions"


def check(manifest: dict[str, Any]) -> None:
    """Compare a manifest with the definition of its kind.

    Raises:
        jsonschema.ValidationError: if it does not fit.
    """
    _validator(manifest["apiVersion"], manifest["kind"]).validate(manifest)


@cache
def _validator(version: str, kind: str) -> jsonschema.Draft202012Validator:
    for path in DEFINITIONS.glob(f"{version.partition('/')[0]}_*.yaml.gz"):
        definition = yaml.load(gzip.decompress(path.read_bytes()), Loader=yaml.CSafeLoader)["spec"]
        for each in definition["versions"]:
            if (version, kind) == (f"{definition['group']}/{each['name']}", definition["names"]["kind"]):
                return jsonschema.Draft202012Validator(_strict(each["schema"]["openAPIV3Schema"]))
    kubernetes = (DEFINITIONS / "kubernetes.schema.yaml").read_text()
    return jsonschema.Draft202012Validator(yaml.safe_load(kubernetes))


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """A structural schema as one of JSON; what it does not name is refused, as by kubectl's --validate=strict."""
    made = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-")}
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["type"] = ["integer", "string"]
    if "properties" in schema:
        made["properties"] = {name: _strict(each) for name, each in schema["properties"].items()}
        made.setdefault("additionalProperties", bool(schema.get("x-kubernetes-preserve-unknown-fields")))
    if isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = _strict(schema["additionalProperties"])
    if "items" in schema:
        made["items"] = _strict(schema["items"])
    return made
