package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// step is one thing to show. do returns what was asked for and what happened; an error is an expectation that
// failed.
type step struct {
	title string
	limit bool // makes sense only where sizes are enforced
	do    func(context.Context) (asked, happened string, err error)
}

// show prints steps for a reader at a terminal.
type show struct {
	out    io.Writer
	colour bool
	steps  int
	took   time.Duration // what the step was asked for, without what the demo does to verify it
}

// newShow uses colour on a terminal, unless NO_COLOR is set (https://no-color.org).
func newShow(out *os.File) *show {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &show{out: out, colour: terminal && os.Getenv("NO_COLOR") == ""}
}

func (s *show) step(ctx context.Context, st step) error {
	s.steps++
	fmt.Fprintf(s.out, "\n%s\n", s.paint("1", fmt.Sprintf("%2d  %s", s.steps, st.title)))
	s.took = 0
	asked, happened, err := st.do(ctx)
	s.line("asked", asked)
	if err != nil {
		s.line("FAILED", s.paint("31", err.Error()))
		return err
	}
	s.line("happened", happened)
	s.line("took", s.paint("32", duration(s.took)))
	return nil
}

// clock adds to the step's time until the function that it returns is called: defer s.clock()().
func (s *show) clock() (stop func()) {
	begin := time.Now()
	return func() { s.took += time.Since(begin) }
}

func (s *show) note(text string) { fmt.Fprintf(s.out, "%s\n", text) }

// line prints a label and a text whose further lines are indented below the first.
func (s *show) line(label, text string) {
	indent := "\n" + strings.Repeat(" ", 14)
	fmt.Fprintf(s.out, "    %-10s%s\n", label, strings.ReplaceAll(strings.TrimSpace(text), "\n", indent))
}

func (s *show) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func duration(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
