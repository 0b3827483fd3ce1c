package loop

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	discardLimit    = "queue/discard_max_bytes"
	discardHardware = "queue/discard_max_hw_bytes"

	renewTries = 10 // udev looks at a device that was detached
	renewPause = 10 * time.Millisecond
)

// forbidDiscard keeps discards of a device that the caller has attached from the
// image. The limit is checked before each discard and, by the loop driver, before
// it zeroes by punching holes.
func forbidDiscard(number int) error {
	limit, err := discardBytes(number, discardLimit)
	if err == nil && limit != 0 {
		if err = writeZero(number); err == nil {
			limit, err = discardBytes(number, discardLimit)
		}
	}
	if err == nil && limit != 0 {
		err = fmt.Errorf("it stays at %d bytes", limit)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDiscard, err)
	}
	return nil
}

// renew makes the device of a free number anew if a former user has forbidden
// discards: since kernel 6.9 the limit outlives the image, and the kernel (seen on
// 6.18) takes no other limit once it is 0. The kernel refuses to remove what
// somebody has open or has attached. Nothing here is an error: all that is lost is
// space in the image of the next who gets the number.
func renew(number int) {
	for range renewTries {
		limit, err := discardBytes(number, discardLimit)
		if err != nil || limit > 0 {
			return
		}
		most, err := discardBytes(number, discardHardware)
		if err != nil || most == 0 || attached(number) {
			return
		}
		if _, err = request(unix.LOOP_CTL_REMOVE, number); err == nil {
			_, _ = request(unix.LOOP_CTL_ADD, number)
			return
		}
		if !errors.Is(err, unix.EBUSY) {
			return
		}
		time.Sleep(renewPause)
	}
}

func discardBytes(number int, file string) (uint64, error) {
	text, err := attribute(number, file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 64)
}

func writeZero(number int) error {
	f, err := os.OpenFile(sysBlock+name(number)+"/"+discardLimit, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("0")
	return errors.Join(err, f.Close())
}
