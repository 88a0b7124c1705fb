"""The services of docker/compose.yaml find each other, and their files are there."""

from pathlib import Path
from typing import Any

import yaml

DOCKER = Path(__file__).parents[2] / "docker"
SERVER = "text-generation-server"


def read(name: str) -> Any:
    return yaml.safe_load((DOCKER / name).read_text())


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read("compose.yaml")["services"]
    return found


def mounted(service: str) -> dict[str, Path]:
    """Files of the repository by their paths in the container."""
    parts = [volume.split(":") for volume in services()[service]["volumes"]]
    return {part[1]: DOCKER / part[0] for part in parts if part[0].startswith(".")}


def test_the_server_starts_without_the_profile_and_the_others_with_it() -> None:
    profiles = {name: service.get("profiles") for name, service in services().items()}
    monitoring = ["monitoring"]
    assert profiles == {SERVER: None, "prometheus": monitoring, "grafana": monitoring}


def test_no_port_is_open_to_other_machines() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_public_images_are_pinned() -> None:
    for name in ("prometheus", "grafana"):
        _, tag = services()[name]["image"].split(":")
        assert tag.removeprefix("v").replace(".", "").isdigit(), name


def test_prometheus_asks_the_server() -> None:
    files = mounted("prometheus")
    (command,) = [c for c in services()["prometheus"]["command"] if c.startswith("--config.file=")]
    assert files[command.removeprefix("--config.file=")].is_file()
    (job,) = read("monitoring/prometheus.yaml")["scrape_configs"]
    _, port = services()[SERVER]["ports"][0].rsplit(":", 1)
    assert job["static_configs"] == [{"targets": [f"{SERVER}:{port}"]}]


def test_grafana_has_the_dashboard_and_its_data() -> None:
    files = mounted("grafana")
    assert all(file.is_file() for file in files.values()), files
    (provider,) = read("monitoring/dashboards.yaml")["providers"]
    home = services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert files[home].name == "dashboard.json"
    assert str(Path(home).parent) == provider["options"]["path"]
    (source,) = read("monitoring/datasource.yaml")["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    assert source["url"] == "http://prometheus:9090"
    interval = read("monitoring/prometheus.yaml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval
