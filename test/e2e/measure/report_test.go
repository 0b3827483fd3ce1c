package measure

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// report is what is printed and kept.
type report struct {
	testing.TB
	text strings.Builder
}

func (r *report) section(title string, columns ...string) {
	fmt.Fprintf(&r.text, "\n## %s\n\n| %s |\n|%s\n", title, strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
}

func (r *report) row(cells ...any) {
	words := make([]string, len(cells))
	for i, c := range cells {
		words[i] = fmt.Sprint(c)
	}
	fmt.Fprintf(&r.text, "| %s |\n", strings.Join(words, " | "))
}

// atMost writes a row with a target, and fails when it is missed.
func (r *report) atMost(what string, got, target float64, unit string) {
	verdict := "met"
	if got > target {
		verdict = "**missed**"
		r.Errorf("%s: %.3g %s, the target is %.3g", what, got, unit, target)
	}
	r.row(what, fmt.Sprintf("%.3g %s", got, unit), fmt.Sprintf("%.3g %s", target, unit), verdict)
}

func (r *report) write() {
	dir := filepath.Join(cluster.Root(), "out/e2e")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		r.Fatal(err)
	}
	text := "# hostvol on a cluster of three nodes\n" + r.text.String()
	if err := os.WriteFile(filepath.Join(dir, "report.md"), []byte(text), 0o644); err != nil {
		r.Fatal(err)
	}
}

// times is a sample of durations.
type times []time.Duration

// at gives the value below which the share lies, in seconds.
func (t times) at(share float64) float64 {
	sorted := slices.Sorted(slices.Values(t))
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))].Seconds()
}

func (r *report) distribution(what string, t times) {
	r.row(what, len(t), fmt.Sprintf("%.2f s", t.at(0.5)), fmt.Sprintf("%.2f s", t.at(0.99)))
}
