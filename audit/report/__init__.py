"""What a run found, told as a page, as a table in the terminal, and as JSON."""

from audit.report.html import render, write_report
from audit.report.summary import summary_json
from audit.report.terminal import print_report, terminal_report

__all__ = ["print_report", "render", "summary_json", "terminal_report", "write_report"]
