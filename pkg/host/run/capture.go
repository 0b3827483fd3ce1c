package run

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// outputLimit bounds what is read of an output, in bytes, at either end.
const outputLimit = 32 << 10

// Capture is a file in memory for what a program prints. It stays as long as the
// program has it, also when this process is gone.
type Capture struct{ file *os.File }

// NewCapture makes an empty one. The caller closes it.
func NewCapture() (Capture, error) {
	fd, err := unix.MemfdCreate("output", unix.MFD_CLOEXEC)
	if err != nil {
		return Capture{}, fmt.Errorf("make a file for a program's output: %w", err)
	}
	f := os.NewFile(uintptr(fd), "output") //nolint:gosec // a descriptor
	// Both streams are one file: what one writes must not lie over the other's.
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFL, unix.O_APPEND); err != nil {
		_ = f.Close()
		return Capture{}, fmt.Errorf("make a file for a program's output: %w", err)
	}
	return Capture{f}, nil
}

// File is for the program.
func (c Capture) File() *os.File { return c.file }

// Close lets it go.
func (c Capture) Close() { _ = c.file.Close() }

// String is the beginning and the end of what was printed, without blanks around it.
func (c Capture) String() string { return strings.TrimSpace(string(c.bytes())) }

func (c Capture) bytes() []byte {
	info, err := c.file.Stat()
	if err != nil {
		return nil
	}
	head := make([]byte, min(info.Size(), outputLimit))
	n, _ := c.file.ReadAt(head, 0)
	rest := max(0, min(info.Size()-outputLimit, outputLimit))
	tail := make([]byte, rest)
	m, _ := c.file.ReadAt(tail, info.Size()-rest)
	return append(head[:n], tail[:m]...)
}
