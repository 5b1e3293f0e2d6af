"""Makes the JSON files of all dashboards: `make dashboards`."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.dashboards import saturation, services, slo, speed_latency, traces

FOLDER = Path(__file__).parent
BUILDERS = {
    "speed-latency.json": speed_latency.build,
    "services.json": services.build,
    "saturation.json": saturation.build,
    "traces.json": traces.build,
    "slo.json": slo.build,
}


def contents() -> dict[str, str]:
    """Return the text of each JSON file, by its name."""
    return {
        name: json.dumps(build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, build in BUILDERS.items()
    }


def main() -> None:
    """Write the files beside this one."""
    for name, text in contents().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
