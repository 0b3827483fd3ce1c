package flex

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// lockDir is where locks are: one for each target, and for what else a driver has
// that only one call may work on. Nothing of it outlives a boot.
const lockDir = "/run/hostvol-flex"

// Lock is held by one process, and by the programs that it has handed it to.
type Lock struct {
	dir  *safepath.Dir
	name string
	file *os.File
}

// TakeLock waits for the lock of a thing until the context ends.
func TakeLock(ctx context.Context, thing string) (*Lock, error) {
	if err := os.MkdirAll(lockDir, 0o700); err != nil {
		return nil, err
	}
	dir, err := safepath.OpenRoot(lockDir)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(thing))
	name := hex.EncodeToString(sum[:16])
	file, err := dir.HoldName(ctx, name)
	if errors.Is(err, safepath.ErrLocked) {
		err = fmt.Errorf("an earlier call for %s, or a program that it has started, is still at work, and waits perhaps for a server: %w", thing, err)
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return &Lock{dir, name, file}, nil
}

// Release lets it go.
func (l *Lock) Release() {
	_ = l.file.Close()
	_ = l.dir.Close()
}

// end removes the lock's file, when the thing is gone.
func (l *Lock) end() { _ = l.dir.Unlink(l.name) }
