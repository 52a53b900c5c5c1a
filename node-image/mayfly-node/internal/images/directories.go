package images

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// implicitParents are the directories that a layer's entries lie in and that it
// does not list itself. They have the attributes of the layers below.
type implicitParents map[string]bool // path → listed

func (parents implicitParents) note(header *tar.Header) (bool, error) {
	if header.Typeflag == tar.TypeDir {
		parents[header.Name] = true
	}
	for dir := filepath.Dir(header.Name); dir != "." && dir != "/"; dir = filepath.Dir(dir) {
		if _, seen := parents[dir]; seen {
			break
		}
		parents[dir] = false
	}
	return true, nil
}

func (parents implicitParents) list() []string {
	var implicit []string
	for dir, listed := range parents {
		if !listed {
			implicit = append(implicit, dir)
		}
	}
	slices.Sort(implicit)
	return implicit
}

// inheritAttributes gives directories owner, mode and times of the same ones in
// the nearest layer below that has them.
func inheritAttributes(root string, dirs, lower []string) error {
	// Deepest first, as a directory's times change when something in it does.
	for _, dir := range slices.Backward(dirs) {
		own := filepath.Join(root, dir)
		if info, err := os.Lstat(own); err != nil || !info.IsDir() {
			continue // reached through a symbolic link
		}
		for _, layer := range lower {
			info, err := os.Lstat(filepath.Join(layer, dir))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			if info.IsDir() {
				if err := copyAttributes(info, own); err != nil {
					return err
				}
			}
			break
		}
	}
	return nil
}

func copyAttributes(from fs.FileInfo, to string) error {
	stat, ok := from.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("no owner known")
	}
	if err := os.Lchown(to, int(stat.Uid), int(stat.Gid)); err != nil {
		return err
	}
	if err := os.Chmod(to, from.Mode()); err != nil {
		return err
	}
	return os.Chtimes(to, from.ModTime(), from.ModTime())
}

// cloneLayer fills a snapshot in preparation with the layer of another one.
func (s Store) cloneLayer(ctx context.Context, name, snapshotDir string) error {
	key := "mayfly-view-" + s.claim + filepath.Base(filepath.Dir(snapshotDir))
	mounts, err := s.Snapshots.View(ctx, key, name)
	if err != nil {
		return err
	}
	defer func() { _ = s.Snapshots.Remove(context.WithoutCancel(ctx), key) }()
	for _, m := range mounts {
		if m.Type == "bind" {
			return cloneDirectory(m.Source, snapshotDir)
		}
		for _, option := range m.Options {
			if dirs, found := strings.CutPrefix(option, "lowerdir="); found {
				top, _, _ := strings.Cut(dirs, ":")
				return cloneDirectory(top, snapshotDir)
			}
		}
	}
	return fmt.Errorf("no directory known of snapshot %s: %v", name, mounts)
}

// cloneDirectory makes a directory of hard links to another one's files, which
// takes no room; a link to a directory of the engine's stays one.
func cloneDirectory(from, to string) error {
	if target, err := os.Readlink(from); err == nil {
		if err := os.Remove(to); err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	var dirs []string
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if !entry.IsDir() {
			return os.Link(path, filepath.Join(to, name))
		}
		dirs = append(dirs, name)
		if name == "." {
			return nil
		}
		return os.Mkdir(filepath.Join(to, name), 0o755)
	})
	if err != nil {
		return err
	}
	for _, dir := range slices.Backward(dirs) {
		if err := cloneAttributes(filepath.Join(from, dir), filepath.Join(to, dir)); err != nil {
			return err
		}
	}
	return nil
}

func cloneAttributes(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	names := make([]byte, 64<<10)
	length, err := unix.Llistxattr(from, names)
	if err != nil {
		return err
	}
	for _, name := range strings.FieldsFunc(string(names[:length]), func(r rune) bool { return r == 0 }) {
		value := make([]byte, 64<<10)
		size, err := unix.Lgetxattr(from, name, value)
		if err != nil {
			return err
		}
		if err := unix.Lsetxattr(to, name, value[:size], 0); err != nil {
			return err
		}
	}
	return copyAttributes(info, to)
}

// directorySize sums up a layer's files as Docker does for the size that it
// keeps of one, so that an image's manifest is the same whichever way it came
// (github.com/moby/moby, pkg/directory).
func directorySize(dir string) (int64, error) {
	var total int64
	seen := map[uint64]bool{}
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && !seen[stat.Ino] {
			seen[stat.Ino] = true
			total += info.Size()
		}
		return nil
	})
	return total, err
}
