package main

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// sink is what the log is written to.
type sink struct {
	mu     sync.Mutex
	text   strings.Builder
	writes int
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	return s.text.Write(p)
}

func (s *sink) state() (string, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String(), s.writes
}

func TestLinesShareAWrite(t *testing.T) {
	s := &sink{}
	l := newLines(s)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if n, err := l.Write([]byte("I line\n")); n != 7 || err != nil {
				t.Error(n, err)
			}
		})
	}
	all.Wait()
	deadline := time.Now().Add(10 * time.Second)
	for {
		text, writes := s.state()
		if text == strings.Repeat("I line\n", 100) {
			if writes > 20 {
				t.Errorf("%d writes", writes)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q", text)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestErrorsDoNotWait(t *testing.T) {
	s := &sink{}
	l := newLines(s)
	_, _ = l.Write([]byte("I before\n"))
	_, _ = l.Write([]byte("E error\n"))
	if text, _ := s.state(); text != "I before\nE error\n" {
		t.Errorf("%q", text)
	}
	_, _ = l.Write([]byte(strings.Repeat("x", 65<<10))) // nor does what is much
	if text, _ := s.state(); len(text) < 65<<10 {
		t.Errorf("%d bytes", len(text))
	}
	_, _ = l.Write([]byte("I last\n"))
	l.flush()
	if text, _ := s.state(); !strings.HasSuffix(text, "I last\n") {
		t.Error("flush has left something")
	}
}
