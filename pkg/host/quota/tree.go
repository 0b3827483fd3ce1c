package quota

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/rmtree/dirstack"
)

// SetTree gives a directory and everything below it a project, to be inherited
// by what is made there later, unless it is 0, which is no project. It follows no link and leaves alone what is
// mounted in the tree. It may be repeated after an error, and files that vanish
// meanwhile are no error; what others make meanwhile in a directory that was not
// reached yet can be missed: Outside tells. Symbolic links and special files
// keep their project where the kernel cannot change it (before 6.17).
func SetTree(ctx context.Context, dir int, id uint32) error {
	if err := SetProject(dir, id, id != 0); err != nil {
		return err
	}
	return walk(ctx, dir, func(s *dirstack.Stack, name string, e entry) error {
		err := e.setProject(id)
		if err != nil && !errors.Is(err, errNoProject) {
			return fmt.Errorf("set project id %d of %s: %w", id, s.Path(name), err)
		}
		return nil
	})
}

// Outside returns up to limit paths, relative to dir ("." for itself), that do not
// count for the project: their id differs, or they are directories that do not
// pass it on. The owner of a file can bring this about by chproj. It follows no
// link and does not look at what is mounted in the tree.
func Outside(ctx context.Context, dir int, id uint32, limit int) ([]string, error) {
	if limit <= 0 {
		return nil, nil
	}
	var out []string
	got, inherit, err := ProjectOf(dir)
	if err != nil {
		return nil, err
	}
	if got != id || !inherit {
		out = append(out, ".")
	}
	err = walk(ctx, dir, func(s *dirstack.Stack, name string, e entry) error {
		if len(out) == limit {
			return errEnough
		}
		got, inherit, err := e.project()
		switch {
		case errors.Is(err, errNoProject):
		case err != nil:
			return fmt.Errorf("get project id of %s: %w", s.Path(name), err)
		case got != id || e.dir && !inherit:
			out = append(out, s.Path(name))
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return out, err
}

var errEnough = errors.New("enough")

// walk calls f for every entry below dir, a directory before what is in it.
func walk(ctx context.Context, dir int, f func(s *dirstack.Stack, name string, e entry) error) error {
	s, err := dirstack.New(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, ok, err := s.Next()
		switch {
		case err != nil:
			return fmt.Errorf("read directory %s: %w", s.Path(""), err)
		case ok:
			err = visit(s, e.Name, f)
		case s.Depth() == 0:
			return nil
		default:
			err = s.Leave()
		}
		if err != nil {
			return err
		}
	}
}

func visit(s *dirstack.Stack, name string, f func(*dirstack.Stack, string, entry) error) error {
	e, err := openEntry(s.FD(), name)
	if err == nil {
		err = f(s, name, e)
		e.close()
		if err == nil && e.dir {
			err = s.Enter(name)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, dirstack.ErrMountPoint),
		errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil // gone, replaced or none of ours
	}
	return err
}
