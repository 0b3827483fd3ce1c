package main

import (
	"bytes"
	"io"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"github.com/hostvol/hostvol/pkg/flex/settings"
)

// openLog opens the log that the settings name. A log that cannot be written is no
// reason to fail a call, and one that takes its time no reason to be late: lines are
// written beside the call, and what is not written soon after its end is lost.
func openLog(to string) (log klog.Logger, closeLog func()) {
	lines := &later{lines: make(chan []byte, 256), done: make(chan struct{})}
	go lines.write(func() io.Writer { return open(to) })
	log = textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(lines), textlogger.Verbosity(2)))
	klog.SetLogger(log) // what libraries have to tell
	return log, lines.close
}

// open opens a log; nil for none.
func open(to string) io.Writer {
	switch to {
	case "":
		return nil
	case settings.Journal:
		if !journal.Enabled() {
			return nil
		}
		return journalLines{}
	}
	// Opened for each call, so that it can be moved away at any time.
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil
	}
	return f
}

// later takes lines for a writer that may be slow.
type later struct {
	lines chan []byte
	done  chan struct{}
}

// flushTime is how long the last lines may take.
const flushTime = 500 * time.Millisecond

// Write implements io.Writer. A line for which there is no room is dropped.
func (l *later) Write(line []byte) (int, error) {
	select {
	case l.lines <- bytes.Clone(line):
	default:
	}
	return len(line), nil
}

func (l *later) write(open func() io.Writer) {
	defer close(l.done)
	out := open()
	for line := range l.lines {
		if line == nil { // the end
			return
		}
		if out != nil {
			_, _ = out.Write(line)
		}
	}
}

// close waits for what has been said.
func (l *later) close() {
	select {
	case l.lines <- nil:
	default:
		return // so much is waiting that it would not be written in time
	}
	select {
	case <-l.done:
	case <-time.After(flushTime):
	}
}

// journalLines writes each line to the journal of systemd.
type journalLines struct{}

// Write implements io.Writer.
func (journalLines) Write(line []byte) (int, error) {
	priority := journal.PriInfo
	if len(line) > 0 && (line[0] == 'E' || line[0] == 'F') {
		priority = journal.PriErr
	}
	err := journal.Send(string(line), priority, map[string]string{"SYSLOG_IDENTIFIER": "hostvol-flex"})
	return len(line), err
}
