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
	fmt.Fprintf(out, "%s\n\n", r.Environment)
	r.printRows(out)
	r.printAsked(out)
	r.printData(out)
	fmt.Fprintf(out, "%d targets missed\n", r.missed())
}

func (r *report) printRows(out io.Writer) {
	if len(r.Rows) == 0 {
		return
	}
	fmt.Fprintln(out, "Snapshots, restores, clones, and block volumes; medians in milliseconds. Ours is durable when it answers, so the floor is, too; cp alone is for comparison.")
	floors := map[string]int{}
	var named []string
	number := func(floor string) string {
		if floor == "" {
			return ""
		}
		if floors[floor] == 0 {
			named = append(named, floor)
			floors[floor] = len(named)
		}
		return fmt.Sprint("[", floors[floor], "]")
	}
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', tabwriter.AlignRight|tabwriter.Debug)
	fmt.Fprintln(table, "pool\tcontent\toperation\tby\trepeats\tours\tfloor\t\tratio\ttarget\t\twith Probe\tleast ours\tfloor\tratio\tcp + syncfs\tcp alone\t")
	for _, one := range r.Rows {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n",
			one.Pool, one.Content, one.Operation, one.Method, one.Repeats, milli(one.Ours), milli(one.Floor), number(one.FloorIs),
			decimal("%.2f", one.Ratio), decimal("≤ %.1f", one.Limit), one.Verdict, decimal("%.2f", one.WithProbe), milli(one.Least), milli(one.LeastFloor), decimal("%.2f", one.LeastRatio), milli(one.CopySynced), milli(one.Copy))
	}
	_ = table.Flush() // to a terminal
	for i, floor := range named {
		fmt.Fprintf(out, "[%d] %s\n", i+1, floor)
	}
	fmt.Fprintln(out)
}

func (r *report) printAsked(out io.Writer) {
	if len(r.Asked) == 0 {
		return
	}
	fmt.Fprintln(out, "GetCapacity and Probe, asked in turn while snapshots are made; in milliseconds.")
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', tabwriter.AlignRight|tabwriter.Debug)
	fmt.Fprintln(table, "pool\tcontent\tsnapshots\tcalls\tProbe p50\tp99\tGetCapacity p50\tp99\tlongest\tp99 by p99\ttarget\t\t")
	for _, a := range r.Asked {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%.2f\t≤ %.0f\t%s\t\n", a.Pool, a.Content, a.Copies, a.Calls,
			milli(a.Probe50), milli(a.Probe99), milli(a.Capacity50), milli(a.Capacity99), milli(a.Capacity), a.Ratio, a.Limit, a.Verdict)
	}
	_ = table.Flush() // to a terminal
	fmt.Fprintln(out)
}

func (r *report) printData(out io.Writer) {
	if len(r.Data) == 0 {
		return
	}
	fmt.Fprintln(out, "Data by fio with direct I/O, in a pool on the disk itself; the ratio is to a file of the pool's own filesystem.")
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', tabwriter.AlignRight|tabwriter.Debug)
	fmt.Fprintln(table, "pattern\tplace\tMB/s\tIOPS\tratio\t")
	for _, d := range r.Data {
		fmt.Fprintf(table, "%s\t%s\t%.1f\t%.0f\t%.2f\t\n", d.Pattern, d.Place, d.MBs, d.IOPS, d.Ratio)
	}
	_ = table.Flush() // to a terminal
	fmt.Fprintln(out)
}

// milli and decimal leave out what is zero, since nothing that was measured is.
func milli(d time.Duration) string {
	ms := float64(d.Nanoseconds()) / 1e6
	if ms >= 100 {
		return decimal("%.0f", ms)
	}
	return decimal("%.2f", ms)
}

func decimal(format string, value float64) string {
	if value == 0 {
		return ""
	}
	return fmt.Sprintf(format, value)
}
