package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// withSpool gives a directory beside those that layers stay in, so that what is in
// it can be moved there, and removes those that killed imports left.
func withSpool(root string, use func(spool string) error) (err error) {
	left, err := filepath.Glob(filepath.Join(root, "mayfly-import-*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if lock, err := lockDirectory(dir); err == nil {
			_ = os.RemoveAll(dir)
			lock.Close()
		}
	}
	spool, err := os.MkdirTemp(root, "mayfly-import-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(spool)) }()
	lock, err := lockDirectory(spool)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err = use(spool); errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("%w (%s)", err, room(root))
	}
	return err
}

func lockDirectory(dir string) (*os.File, error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// placement is where layers go that were unpacked into a spool.
type placement struct {
	spool string
	// shared says that they stay beside the spool, where other nodes see them.
	shared bool
}

// put gives a layer to a snapshot. Where one layer lies on different ones below,
// the next snapshot gets a clone.
func (place placement) put(layer *unpacked, to slot) error {
	dir := layer.dir
	if !strings.HasPrefix(dir, place.spool+"/") {
		var err error
		if dir, err = os.MkdirTemp(place.spool, "clone-"); err != nil {
			return err
		}
		if err := cloneDirectory(layer.dir, dir); err != nil {
			return err
		}
	}
	if err := inheritAttributes(dir, layer.implicit, to.lower); err != nil {
		return err
	}
	if err := os.Remove(to.dir); err != nil {
		return err
	}
	layer.dir = to.dir
	if place.shared {
		// The same on every node: a chain tells all that the directory depends on.
		layer.dir = filepath.Join(filepath.Dir(place.spool), to.chain.Encoded())
		if err := os.Symlink(layer.dir, to.dir); err != nil {
			return err
		}
	}
	err := os.Rename(dir, layer.dir)
	if place.shared && errors.Is(err, fs.ErrExist) {
		return nil // another import was faster; this one's goes with the spool
	}
	return err
}

// room says how full the file system of a directory is.
func room(dir string) string {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return err.Error()
	}
	size := uint64(stat.Bsize)
	return fmt.Sprintf("%s has %d MiB in all, %d MiB free", dir, stat.Blocks*size>>20, stat.Bavail*size>>20)
}
