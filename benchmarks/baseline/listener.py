"""Receives the network's reports, like a webhook endpoint, and enqueues a task for the end of each call."""

from benchmarks.baseline.app import ended, network


def main() -> None:
    """Run until the process is killed."""
    for events in network().reports():
        for event in events:
            if event["kind"] == "ended":
                ended.delay(event["attempt_id"], event["outcome"])


if __name__ == "__main__":
    main()
