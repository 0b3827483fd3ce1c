package main

import (
	"io"
	"os"

	"github.com/coreos/go-systemd/v22/journal"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"github.com/hostvol/hostvol/pkg/flex/settings"
)

// openLog opens the log that the settings name. A log that cannot be written is no
// reason to fail a call: there is just none then.
func openLog(to string) (log klog.Logger, closeLog func()) {
	out := io.Writer(io.Discard)
	closeLog = func() {}
	switch to {
	case "":
	case settings.Journal:
		if journal.Enabled() {
			out = journalLines{}
		}
	default:
		// Opened for each call, so that it can be moved away at any time.
		if f, err := os.OpenFile(to, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err == nil {
			out = f
			closeLog = func() { _ = f.Close() }
		}
	}
	log = textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(out), textlogger.Verbosity(2)))
	klog.SetLogger(log) // what libraries have to tell
	return log, closeLog
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
