package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// ErrLeft means that a program that was to be killed is still there: it waits in
// the kernel for a disk or a server. What it does may yet take effect.
var ErrLeft = errors.New("it cannot be killed now, and goes on in the background")

// ErrNoProgram means that the program is not on this machine.
var ErrNoProgram = errors.New("no such program")

// Program is a program that runs to its end.
type Program struct {
	// Argv begins with a path, or a name that is looked up in PATH. Everybody on the
	// machine can read it while the program runs.
	Argv []string
	// Env is added to the environment, in the C locale.
	Env []string
	// Files are its descriptors from 3 on.
	Files []*os.File
	// Lock is held until the program and all of its process group are gone, also when
	// this process is killed, see Guard; nil for none.
	Lock *os.File
	// Survives lets the program go on to its end when this process is killed.
	Survives bool
	// Stdout gets the standard output, which is not in what Do returns then.
	Stdout io.Writer
}

// endTime is how long a killed program has to be gone.
const endTime = 2 * time.Second

// Do runs a program to its end and returns what it has printed, standard output
// and error together. When the context ends, it is killed with all that it has
// started, and the error wraps the context's; one that does not die in two seconds
// is left behind, which is ErrLeft. It does not outlive this process, if that can
// be helped.
func Do(ctx context.Context, p Program) (string, error) {
	if len(p.Argv) == 0 {
		return "", errors.New("no program")
	}
	path, err := exec.LookPath(p.Argv[0])
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoProgram, err)
	}
	argv, files, death := p.Argv, p.Files, syscall.SIGKILL
	if p.Lock != nil {
		argv = append([]string{Self, guardWord, strconv.Itoa(len(files)), path}, argv[1:]...)
		files, death = append([]*os.File{p.Lock}, files...), syscall.SIGTERM
	}
	if p.Survives {
		death = 0
	}
	// Files and no pipes: nothing that a program starts can keep us waiting by its
	// output, and one that survives us is not ended by its next line.
	out, err := NewCapture()
	if err != nil {
		return "", err
	}
	defer out.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(append(os.Environ(), "LC_ALL=C"), p.Env...)
	cmd.Stdout, cmd.Stderr = out.File(), out.File()
	if p.Stdout != nil {
		apart, err := NewCapture()
		if err != nil {
			return "", err
		}
		defer apart.Close()
		defer func() { _, _ = p.Stdout.Write(apart.bytes()) }()
		cmd.Stdout = apart.File()
	}
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: death}
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		// The kernel sends Pdeathsig when this thread ends, not this process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return "", fmt.Errorf("start %s: %w", p.Argv[0], err)
	}
	select {
	case err := <-ended:
		return out.String(), named(p, err)
	case <-ctx.Done():
	}
	_ = syscall.Kill(-cmd.Process.Pid, cmp.Or(death, syscall.SIGKILL)) // it may have ended by now
	err = fmt.Errorf("%s did not end in time: %w", p.Argv[0], ctx.Err())
	select {
	case <-ended: //nolint:errcheck // it was killed
	case <-time.After(endTime + time.Second):
		err = fmt.Errorf("%w: %w", err, ErrLeft)
	}
	return out.String(), err
}

func named(p Program, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", p.Argv[0], err)
}

// Code is the exit status in an error of Do; -1 when there is none.
func Code(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
