package loop

import (
	"context"
	"errors"
	"os"

	"github.com/hostvol/hostvol/pkg/host/clone"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// The names in staging/ of the files of a trial, which no volume can have.
const trialFrom, trialTo = ".reflink-from", ".reflink-to"

// shares tries whether two files can share blocks. On a full disk nothing can be
// tried, and no is a safe answer.
func shares(staging *safepath.Dir) (bool, error) {
	from, err := scratch(staging, trialFrom)
	if err != nil {
		return false, ignoreFull(err)
	}
	defer drop(staging, from, trialFrom)
	to, err := scratch(staging, trialTo)
	if err != nil {
		return false, ignoreFull(err)
	}
	defer drop(staging, to, trialTo)
	if _, err := from.Write(make([]byte, 4096)); err != nil {
		return false, ignoreFull(err)
	}
	_, err = clone.File(context.Background(), from, to, clone.Options{Reflink: clone.Always})
	if errors.Is(err, clone.ErrNoReflink) {
		return false, nil
	}
	return err == nil, ignoreFull(err)
}

func ignoreFull(err error) error {
	if errno.NoSpace(err) {
		return nil
	}
	return err
}

func scratch(dir *safepath.Dir, name string) (*os.File, error) {
	return dir.Open(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
}

func drop(dir *safepath.Dir, f *os.File, name string) {
	_ = f.Close()
	_ = dir.Unlink(name)
}
