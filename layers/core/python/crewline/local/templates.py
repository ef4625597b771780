"""The packaged CloudFormation template, rewritten for the local cloud."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

from crewline.local.bundles import Bundle
from crewline.local.failures import LocalServiceError
from crewline.models.intake import EventMapping

ASSETS: Final = "crewline-assets"
"""The local cloud's bucket for the code of functions and layers."""

_NAME: Final = "POWERTOOLS_SERVICE_NAME"
"""The variable by which the constructs tell each function its name."""


def localised(
    template: Mapping[str, Any],
    *,
    functions: Mapping[str, Bundle],
    layer: Bundle,
    project: Mapping[str, str],
    local: Mapping[str, str],
    events: Sequence[EventMapping] = (),
) -> dict[str, Any]:
    """Point a template's functions and layers at local code, and give it the rules of a project's events.

    Functions have no versions here: their code is what lies on this machine, and aliases mean what is there now.

    Args:
        template: The synthesised template; left as it is.
        functions: Name of a function → its code.
        layer: The content of every layer.
        project: Variables that the project sets for its crews; the template's own win over them.
        local: Variables that are different here; they win over all.
        events: Which events become runs.

    Returns:
        The template to deploy.

    Raises:
        LocalServiceError: The template has a function without code here.
    """
    result = copy.deepcopy(dict(template))
    for logical_id, resource in list(result["Resources"].items()):
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Lambda::Version":
            del result["Resources"][logical_id]
        elif resource["Type"] == "AWS::Lambda::Alias":
            properties["FunctionVersion"] = "$LATEST"
        elif resource["Type"] == "AWS::Lambda::Function":
            own = properties.get("Environment", {}).get("Variables", {})
            if (name := own.get(_NAME)) not in functions:
                raise LocalServiceError(
                    f"The template's function {logical_id} has no code here ({_NAME}={name})."
                )
            properties["Code"] = _place(functions[name])
            properties["Environment"] = {"Variables": {**project, **own, **local}}
        elif resource["Type"] == "AWS::Lambda::LayerVersion":
            properties["Content"] = _place(layer)
    target = {"Id": "Intake", "Arn": {"Ref": "IntakeLive"}}
    for count, mapping in enumerate(events):
        result["Resources"][f"EventRule{count}"] = {
            "Type": "AWS::Events::Rule",
            "Properties": {"EventPattern": mapping.pattern, "State": "ENABLED", "Targets": [target]},
        }
    return result


def _place(bundle: Bundle) -> dict[str, str]:
    return {"S3Bucket": ASSETS, "S3Key": bundle.key}
