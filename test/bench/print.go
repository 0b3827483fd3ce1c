package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// print shows the report as tables for a reader at a terminal.
func (r *report) print(out io.Writer) {
	progress("")
	fmt.Fprintf(out, "%s\n", r.Environment)
	fmt.Fprintf(out, "floor = Probe (an empty GetPluginInfo) + the bare system calls in a tight loop; all in microseconds\n")
	fmt.Fprintf(out, "paced = an empty call and then the bare system calls, timed as one; for comparison, no target\n")
	for i, row := range r.Rows {
		if i == 0 || row.Scenario != r.Rows[i-1].Scenario {
			fmt.Fprintf(out, "\n%s\n%-20s|%26s |%35s |%26s%22s\n", row.Scenario, "", "1 caller", fmt.Sprint(manyCallers, " callers"), "floor", "paced")
			fmt.Fprintf(out, "%-20s|%8s %8s %8s |%8s %8s %8s %8s |%8s %8s %8s %6s %8s %6s\n", "",
				"p50", "p99", "per s", "p50", "p99", "per s", "raw/s", "raw", "+Probe", "ratio", "target", "p50", "ratio")
		}
		fmt.Fprintf(out, "%-20s|%8s %8s %8.0f |%8s %8s %8.0f %8s |%8s %8s %8s %6s %8s %6s %s\n", row.Call,
			micro(row.One.P50), micro(row.One.P99), row.One.Rate,
			micro(row.Many.P50), micro(row.Many.P99), row.Many.Rate, number("%.0f", row.RawMany.Rate),
			micro(row.RawOne.P50), micro(row.Floor), number("%.2f", row.Ratio), number("≤ %.1f", row.Limit),
			micro(row.Paced.P50), number("%.2f", ratio(row.One.P50, row.Paced.P50)), row.Verdict)
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, c := range r.Checks {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", c.What, c.Found, c.Target, c.Verdict)
	}
	_ = table.Flush() // to a terminal
	fmt.Fprintf(out, "\n%d targets missed\n", r.missed())
}

// micro and number leave out what is zero, since nothing that was measured is.
func micro(d time.Duration) string { return number("%.0f", float64(d.Nanoseconds())/1000) }

func ratio(of, by time.Duration) float64 {
	if by == 0 {
		return 0
	}
	return float64(of) / float64(by)
}

func number(format string, value float64) string {
	if value == 0 {
		return ""
	}
	return fmt.Sprintf(format, value)
}
