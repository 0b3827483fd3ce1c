// Package run starts programs. It is the one place that does: it owns their
// locale, what they inherit and how they end.
package run

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// Child is a program that goes on beside this one, in a process group of its own,
// so that a signal for this one's group does not end it.
type Child struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	outEnd io.Closer
}

// Start starts a program with the open files as its descriptors from 3 on. Its
// standard input ends when this process does, however that ends.
func Start(argv []string, files ...*os.File) (*Child, error) {
	if len(argv) == 0 {
		return nil, errors.New("start: no program")
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	return &Child{cmd: cmd, in: in, out: bufio.NewReader(out), outEnd: out}, nil
}

// Line reads the next line that the program prints, without its end.
func (c *Child) Line() (string, error) {
	line, err := c.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%s ended early: %w", c.cmd.Path, err)
	}
	return line[:len(line)-1], nil
}

// Tell writes to the program's standard input.
func (c *Child) Tell(text string) error {
	_, err := io.WriteString(c.in, text)
	return err
}

// Wait ends the program's input and waits for its end.
func (c *Child) Wait() error {
	err := errors.Join(ignoreClosed(c.in.Close()), ignoreClosed(c.outEnd.Close()))
	return errors.Join(err, c.cmd.Wait())
}

// PID is the program's process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
