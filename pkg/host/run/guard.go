package run

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// Self starts this executable once more, whatever has become of its file.
const Self = "/proc/self/exe"

// guardWord makes this executable the guard of a program.
const guardWord = "guard-program"

// lockFD is the guard's descriptor that the program does not get.
const lockFD = 3

// exitGuard is the guard's own exit status when it could not start the program.
const exitGuard = 126

// Guard is the main function of a guard, if the arguments (with the executable's own
// name) are those of one; a main function calls it first. The guard starts a
// program and waits for it, with the lock of Program.Lock in its hands. When it is
// told to end, or the process that has started it is gone, it kills the program
// with all of its process group, and holds the lock until none of them is left. A
// daemon that the program leaves behind, in a group of its own, gets no lock and
// nobody waits for it.
func Guard(args []string) (code int, is bool) {
	if len(args) < 4 || args[0] != Self || args[1] != guardWord {
		return 0, false
	}
	count, err := strconv.Atoi(args[2])
	if err != nil {
		return exitGuard, true
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	syscall.CloseOnExec(lockFD)
	cmd := exec.Command(args[3], args[4:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	for i := range count {
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(lockFD+1+i), "inherited")) //nolint:gosec // small
	}
	runtime.LockOSThread() // the kernel sends Pdeathsig when this thread ends
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitGuard, true
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	select {
	case <-done:
		return cmd.ProcessState.ExitCode(), true
	case <-end:
	}
	group := -cmd.Process.Pid
	for { // the program may be one that is just starting another
		if err := syscall.Kill(group, syscall.SIGKILL); errors.Is(err, syscall.ESRCH) {
			return exitGuard, true
		}
		time.Sleep(10 * time.Millisecond)
	}
}
