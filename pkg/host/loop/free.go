package loop

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	controlPath = "/dev/loop-control"

	nodePatience = 5 * time.Second // for udev to make the node of a new device
	nodePause    = 5 * time.Millisecond
)

// free returns the number of a device that is free now.
func free() (int, error) {
	number, err := request(unix.LOOP_CTL_GET_FREE, 0)
	if err != nil {
		return 0, fmt.Errorf("find a free loop device: %w", err)
	}
	return number, nil
}

// request is one request to the control device.
func request(what uint, number int) (int, error) {
	f, err := os.OpenFile(controlPath, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return 0, ErrNoLoop
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	err = control(f, func(fd int) error {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(what), uintptr(number))
		if errno != 0 {
			return errno
		}
		number = int(r)
		return nil
	})
	return number, err
}

// awaitNode opens the node of a free device, which may be a new one.
func awaitNode(ctx context.Context, number int, o Options) (*os.File, error) {
	flag := os.O_RDWR
	if o.ReadOnly {
		flag = os.O_RDONLY
	}
	for end := time.Now().Add(nodePatience); ; {
		f, err := openNode(number, flag)
		if !errors.Is(err, ErrNoNode) || time.Now().After(end) {
			return f, err
		}
		if cause := pause(ctx, nodePause); cause != nil {
			return nil, fmt.Errorf("%w: %w", err, cause)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
