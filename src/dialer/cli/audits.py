"""Prints what an audit found."""

from dialer.engine.audit import AuditReport


def audit_report(report: AuditReport) -> str:
    """Format what an audit found, one line per broken rule."""
    scope = f"{report.attempts:,} attempts, {report.contacts:,} contacts, {report.batches:,} batches"
    if report.is_clean:
        return f"Audit clean: {scope}; P1, P2, P3 and P5 hold."
    lines = [f"Audit found {len(report.violations):,} broken rules in {scope}:"]
    lines += [
        f"  {broken.promise} {broken.rule}: {broken.message} [{', '.join(broken.rows)}]" for broken in report.violations
    ]
    return "\n".join(lines)
