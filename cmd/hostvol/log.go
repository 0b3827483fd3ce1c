package main

import (
	"flag"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
)

// logging is the --v flag, and the log that comes of it.
type logging struct {
	config *textlogger.Config
	lines  *lines
}

func (l *logging) add(f *pflag.FlagSet) {
	l.lines = newLines(os.Stderr)
	l.config = textlogger.NewConfig(textlogger.Output(l.lines), textlogger.Verbosity(2))
	all := flag.NewFlagSet("log", flag.ContinueOnError)
	l.config.AddFlags(all)
	v := pflag.PFlagFromGoFlag(all.Lookup("v"))
	v.Usage = "log level: 2 for state changes, 4 for decisions and calls"
	f.AddFlag(v)
}

// start makes it the log of the whole process. The returned function writes out
// what is left.
func (l *logging) start() (klog.Logger, func()) {
	log := textlogger.NewLogger(l.config)
	klog.SetLogger(log)
	return log, l.lines.flush
}

// linger is how long a line may wait for others, so that many calls share one
// write. What a killed process has not written is lost; errors do not wait.
const linger = 100 * time.Millisecond

// lines gathers log lines.
type lines struct {
	out io.Writer

	mu      sync.Mutex
	buffer  []byte
	pending bool
}

func newLines(out io.Writer) *lines { return &lines{out: out} }

// Write takes one line.
func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	l.buffer = append(l.buffer, line...)
	now := len(line) > 0 && (line[0] == 'E' || line[0] == 'F') || len(l.buffer) > 64<<10
	if !now && !l.pending {
		l.pending = true
		time.AfterFunc(linger, l.flush)
	}
	l.mu.Unlock()
	if now {
		l.flush()
	}
	return len(line), nil
}

func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = false
	if len(l.buffer) > 0 {
		_, _ = l.out.Write(l.buffer) // there is nowhere to tell
		l.buffer = l.buffer[:0]
	}
}
