package logwrites

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Marker puts marks into the log of a device.
type Marker struct {
	control *os.File
	device  string
}

// NewMarker opens the device-mapper for the mapped device of that name.
func NewMarker(device string) (*Marker, error) {
	control, err := os.OpenFile("/dev/mapper/control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("mark %s: %w", device, err)
	}
	return &Marker{control: control, device: device}, nil
}

// The head of a device-mapper request, struct dm_ioctl of <linux/dm-ioctl.h>, and the request that sends a message.
const (
	requestSize   = 312
	nameOffset    = 48
	nameSize      = 128
	targetMessage = 0xc138fd0e // DM_TARGET_MSG
)

// Mark puts a text without blanks into the log. When it returns, everything that completes later is logged later.
func (m *Marker) Mark(text string) error {
	if text == "" || strings.ContainsAny(text, " \\\t\n") || len(m.device) >= nameSize {
		return fmt.Errorf("mark %q: %w", text, unix.EINVAL)
	}
	message := "mark " + text + "\x00"
	request := make([]byte, requestSize+8+len(message)) // a sector, 0, and the message
	le := binary.NativeEndian
	le.PutUint32(request[0:], 4) // version 4.0.0
	le.PutUint32(request[12:], uint32(len(request)))
	le.PutUint32(request[16:], requestSize)
	copy(request[nameOffset:], m.device)
	copy(request[requestSize+8:], message)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, m.control.Fd(), targetMessage, uintptr(unsafe.Pointer(&request[0]))); errno != 0 {
		return fmt.Errorf("mark %q in the log of %s: %w", text, m.device, errno)
	}
	return nil
}

// Close lets go of the device-mapper.
func (m *Marker) Close() error { return m.control.Close() }
