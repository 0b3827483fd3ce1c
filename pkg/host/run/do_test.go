package run

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDo(t *testing.T) {
	out, err := Do(t.Context(), Program{Argv: []string{"sh", "-c", `echo "$LC_ALL $GIVEN"; echo err >&2; cat <&3`}, Env: []string{"GIVEN=this"}, Files: []*os.File{pipe(t, "handed over")}})
	must(t, err)
	if out != "C this\nerr\nhanded over" {
		t.Errorf("%q", out)
	}
	var apart bytes.Buffer
	out, err = Do(t.Context(), Program{Argv: []string{"sh", "-c", "echo out; echo err >&2; exit 7"}, Stdout: &apart})
	if out != "err" || apart.String() != "out\n" || Code(err) != 7 {
		t.Errorf("%q %q %v", out, apart.String(), err)
	}
	if _, err := Do(t.Context(), Program{Argv: []string{"/no/such/program"}}); !errors.Is(err, ErrNoProgram) {
		t.Errorf("%v", err)
	}
	if _, err := Do(t.Context(), Program{}); err == nil {
		t.Error("nothing was started")
	}
	out, err = Do(t.Context(), Program{Argv: []string{"sh", "-c", "echo begin; head -c 300000 /dev/zero | tr '\\0' x; echo; echo end"}})
	if err != nil || len(out) > 2*outputLimit || !strings.HasPrefix(out, "begin") || !strings.HasSuffix(out, "end") {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

// What a program has started ends with it, guarded or not.
func TestDoInTime(t *testing.T) {
	for name, lock := range map[string]*os.File{"alone": nil, "guarded": pipe(t, "")} {
		t.Run(name, func(t *testing.T) {
			out := ""
			for limit := 300 * time.Millisecond; out == "" && limit < 20*time.Second; limit *= 2 { // until the shell gets to its echo
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				begin := time.Now()
				var err error
				out, err = Do(ctx, Program{Argv: []string{"sh", "-c", "trap '' TERM; sleep 100 & echo $!; wait; sleep 100"}, Lock: lock})
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > limit+endTime+700*time.Millisecond {
					t.Errorf("%v after %s", err, time.Since(begin))
				}
			}
			pid, err := strconv.Atoi(out)
			must(t, err)
			for end := time.Now().Add(20 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("its child lives on")
				}
			}
		})
	}
}

// What survives its caller prints on, and is not ended by that.
func TestSurvives(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "end")
	cmd := exec.Command(os.Args[0], survivorWord, mark)
	must(t, cmd.Start())
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(mark + ".begun"); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it did not begin")
		}
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(mark); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it did not reach its end")
		}
	}
}

// A child that stays behind keeps neither the call nor the lock.
func TestDoWithADaemon(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	out, err := Do(t.Context(), Program{Argv: []string{"sh", "-c", "setsid sleep 20 >/dev/null 2>&1 & echo $!"}, Lock: w})
	must(t, err, w.Close())
	pid, err := strconv.Atoi(out)
	must(t, err)
	defer syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // it may be gone
	must(t, r.SetReadDeadline(time.Now().Add(5*time.Second)))
	if n, err := r.Read(make([]byte, 1)); n != 0 || os.IsTimeout(err) {
		t.Errorf("somebody has the lock: %d %v", n, err)
	}
}

func pipe(t *testing.T, text string) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	_, err = w.WriteString(text)
	must(t, err, w.Close())
	t.Cleanup(func() { _ = r.Close() })
	return r
}
