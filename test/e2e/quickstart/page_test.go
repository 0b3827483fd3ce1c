// Package quickstart does what docs/quick-start.md says, word for word.
package quickstart

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// The page's commands give the outputs that the page shows, on a cluster that
// has never seen the driver. There are five until the pod has its volume.
func TestQuickStart(t *testing.T) {
	if _, err := cluster.Open(); err != nil {
		t.Fatal(err)
	}
	clear := func() {
		if _, err := cluster.Kubectl("delete", "-f", "deploy/examples/quick-start.yaml", "--ignore-not-found", "--timeout=90s"); err != nil {
			t.Error(err)
		}
	}
	clear()
	t.Cleanup(clear)
	if err := cluster.Uninstall(); err != nil {
		t.Fatal(err)
	}
	if err := cluster.NoteForm("distributed"); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(cluster.Root(), "docs/quick-start.md"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(page), "\n## ")
	if n := len(commands(first)); n != 5 {
		t.Errorf("a volume is had with %d commands, the page promises five", n)
	}
	for _, c := range commands(string(page)) {
		start := time.Now()
		got, err := run(t.Context(), c.line)
		if refused := strings.Contains(c.output, "error"); refused != (err != nil) || !c.matches(got) {
			t.Fatalf("$ %s\n%s(%v)\nbut the page shows\n%s", c.line, got, err, c.output)
		}
		t.Logf("%5.1fs $ %s", time.Since(start).Seconds(), c.line)
	}
}

type command struct{ line, output string }

// commands are the lines that begin with a dollar sign in blocks of the kind
// console, each with what stands below it.
func commands(page string) []command {
	var all []command
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(page, -1) {
		for _, part := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			line, output, _ := strings.Cut(part, "\n")
			all = append(all, command{line, output})
		}
	}
	return all
}

// matches compares line by line; a line of three dots stands for any lines, one
// that ends with them for any end.
func (c command) matches(got string) bool {
	var pattern strings.Builder
	pattern.WriteString("^")
	for _, line := range strings.Split(strings.TrimSpace(c.output), "\n") {
		if line == "…" {
			pattern.WriteString("(?:.*\n)*?")
			continue
		}
		begin, open := strings.CutSuffix(line, "…")
		pattern.WriteString(regexp.MustCompile(` +`).ReplaceAllString(regexp.QuoteMeta(strings.TrimRight(begin, " ")), " +"))
		if open {
			pattern.WriteString(".*")
		}
		pattern.WriteString("\n")
	}
	pattern.WriteString("$")
	return regexp.MustCompile(pattern.String()).MatchString(strings.TrimSpace(got) + "\n")
}

// run runs a line as a person at the repository's root would.
func run(ctx context.Context, line string) (string, error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir = cluster.Root()
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(cluster.Root(), "hack/cluster")+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}
