"""Which servers and addresses a command uses."""

from pathlib import Path

from dialer.cli.data_folder import API_URL_FILE
from dialer.cli.target import with_local_servers
from dialer.embedded.data_dir import use_exclusively
from dialer.settings import Settings


def test_a_command_next_to_dialer_up_tells_networks_to_report_to_its_api(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with use_exclusively(data_dir) as lock:
        lock.publish("postgresql+psycopg://there", "redis://there")
        (data_dir / API_URL_FILE).write_text("http://127.0.0.1:4711")
        found = with_local_servers(Settings(data_dir=data_dir))
        assert (found.redis_url, found.public_url) == ("redis://there", "http://127.0.0.1:4711")
        of_owner = Settings(data_dir=data_dir, public_url="https://dialer.example.com")
        assert with_local_servers(of_owner).public_url == "https://dialer.example.com"
    assert with_local_servers(Settings(data_dir=data_dir)).public_url is None
