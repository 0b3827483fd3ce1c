package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// content is what a volume holds: one file, Written of its Bytes, or so many Files.
type content struct {
	Name           string
	Bytes, Written int64
	Files          int
}

const (
	fileBytes = 4 << 10
	filesDir  = 100 // files of a directory

	imageOfFiles = 256 * mib
)

// size of a volume that holds it.
func (c content) size(f form) int64 {
	switch {
	case c.Files > 0:
		return imageOfFiles
	case f.block:
		return c.Bytes
	}
	return c.Bytes + 64*mib
}

// inImage is the form of a volume with that content in an image.
func (c content) inImage() form {
	if c.Files > 0 {
		return form{fsType: "ext4"}
	}
	return block
}

// hold makes a volume with the content.
func (s *station) hold(name string, f form, c content) error {
	if err := s.create(name, f, c.size(f), nil); err != nil {
		return err
	}
	var err error
	switch {
	case f.block: // no device is attached: the image is a file like others
		err = writeFile(filepath.Join(s.pool, "volumes", name, "image"), c)
	case f.image():
		err = s.filled(name, f, c)
	case c.Files > 0:
		err = writeFiles(filepath.Join(s.pool, "volumes", name, "data"), c)
	default:
		err = writeFile(filepath.Join(s.pool, "volumes", name, "data", "file"), c)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", c.Name, err)
	}
	return settle(s.root)
}

func (s *station) filled(name string, f form, c content) error {
	target := s.target(name)
	if err := s.publish(name, f, target); err != nil {
		return err
	}
	if err := writeFiles(target, c); err != nil {
		return err
	}
	return s.unpublish(name, target)
}

func writeFiles(dir string, c content) error {
	text := noise(fileBytes)
	for i := range c.Files {
		sub := filepath.Join(dir, fmt.Sprint("d", i/filesDir))
		if i%filesDir == 0 {
			if err := os.Mkdir(sub, 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprint("f", i)), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeFile spreads what is written over the file, a MiB at a time.
func writeFile(path string, c content) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(c.Bytes); err != nil {
		return err
	}
	piece := noise(mib)
	step := c.Bytes / (c.Written / mib)
	for at := int64(0); at < c.Bytes; at += step {
		if _, err := f.WriteAt(piece, at); err != nil {
			return err
		}
	}
	return f.Sync()
}

func noise(bytes int) []byte {
	random := rand.NewChaCha8([32]byte{})
	b := make([]byte, bytes)
	_, _ = random.Read(b) // never fails
	return b
}
