package daemon

import (
	"bytes"
	"io"
	"sync"
)

// log collects what the daemon prints, and copies it to tee if there is one.
type log struct {
	mu     sync.Mutex
	buffer bytes.Buffer
	tee    io.Writer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tee != nil {
		if _, err := l.tee.Write(p); err != nil {
			return 0, err
		}
	}
	return l.buffer.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

// tail is the last part of the log, for messages.
func (l *log) tail() string {
	const size = 4096
	text := l.String()
	if len(text) > size {
		text = "…" + text[len(text)-size:]
	}
	return text
}
