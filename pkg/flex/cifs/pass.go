package cifs

import (
	"errors"
	"fmt"
	"os"

	"github.com/hostvol/hostvol/pkg/flex"
)

// given makes a descriptor from which a password can be read once. mount.cifs takes
// it by the number in PASSWD_FD: so it is neither among the arguments nor in the
// environment, and on no disk.
func given(password flex.Secret) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for the password: %w", err)
	}
	_, err = w.Write(password) // shorter than any pipe
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("hand over the password: %w", err), r.Close())
	}
	return r, nil
}
