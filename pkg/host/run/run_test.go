package run

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// parentWord makes this binary a process that starts a child and waits for its end.
const parentWord = "parent"

// survivorWord makes it one that is killed while a program of it goes on.
const survivorWord = "survivor"

func TestMain(m *testing.M) {
	if code, is := Guard(os.Args); is {
		os.Exit(code)
	}
	if len(os.Args) == 3 && os.Args[1] == survivorWord {
		_, err := Do(context.Background(), Program{
			Argv: []string{"bash", "-c", `trap 'exit 1' PIPE; touch "$0.begun"; for i in {1..20}; do echo line $i || exit 1; sleep 0.05; done; touch "$0"`, os.Args[2]}, Survives: true,
		})
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == parentWord {
		// The child tells, on the descriptor it was given, when its input has ended.
		c, err := Start([]string{"sh", "-c", "echo ready; cat >/dev/null; echo ended >&3"}, os.Stdout)
		if err == nil {
			_, err = c.Line()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(c.PID())
		for { // until it is killed
			time.Sleep(time.Hour)
		}
	}
	os.Exit(m.Run())
}

func TestAChild(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	c, err := Start([]string{"sh", "-c", `echo "$LC_ALL $(ls /proc/self/fd | wc -l)"; read -r line; echo "$line"; echo given >&3; ps -o pgid= -p $$`}, w)
	must(t, err)
	must(t, w.Close())
	line, err := c.Line()
	must(t, err)
	if !strings.HasPrefix(line, "C ") {
		t.Errorf("the locale: %q", line)
	}
	must(t, c.Tell("hello\n"))
	if line, err := c.Line(); err != nil || line != "hello" {
		t.Errorf("%q %v", line, err)
	}
	given, err := bufio.NewReader(r).ReadString('\n')
	if err != nil || given != "given\n" {
		t.Errorf("%q %v", given, err)
	}
	if line, err := c.Line(); err != nil || strings.TrimSpace(line) != fmt.Sprint(c.PID()) {
		t.Errorf("its process group is %q, its id %d: %v", line, c.PID(), err)
	}
	must(t, c.Wait())
	if _, err := Start(nil); err == nil {
		t.Error("nothing was started")
	}
	if _, err := Start([]string{"/no/such/program"}); err == nil {
		t.Error("what does not exist was started")
	}
	c, err = Start([]string{"false"})
	must(t, err)
	if line, err := c.Line(); err == nil {
		t.Errorf("it said %q", line)
	}
	if err := c.Wait(); err == nil {
		t.Error("a child that failed ended well")
	}
}

// Wait ends a child that reads to the end of its input.
func TestWaitEndsTheInput(t *testing.T) {
	c, err := Start([]string{"cat"})
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case err := <-ended:
		must(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on")
	}
}

// The input of a child ends with its parent, however that ends.
func TestTheInputEndsWithTheParent(t *testing.T) {
	parent := exec.Command("/proc/self/exe", parentWord)
	parent.Stderr = os.Stderr
	r, w, err := os.Pipe()
	must(t, err)
	parent.Stdout = w
	must(t, parent.Start())
	must(t, w.Close())
	out := bufio.NewReader(r)
	pid, err := out.ReadString('\n')
	must(t, err)
	must(t, parent.Process.Signal(unix.SIGKILL))
	_ = parent.Wait()
	must(t, r.SetReadDeadline(time.Now().Add(10*time.Second)))
	if line, err := out.ReadString('\n'); err != nil || line != "ended\n" {
		t.Errorf("child %s: %q %v", strings.TrimSpace(pid), line, err)
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
