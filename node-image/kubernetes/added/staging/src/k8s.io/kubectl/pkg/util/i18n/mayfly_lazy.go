// Package i18n is a part of kubectl's package of that name: the build of the
// node image puts this file beside i18n.go (src/node-image/kubernetes-changes.ts).
//
// kubectl's packages ask for translations while they are initialised. In a
// program that is every component at once all of them would load kubectl's,
// which takes 14 ms and 4 MB at each start.
package i18n

import (
	"os"
	"path/filepath"
)

func init() {
	load := LoadTranslationsFunc
	LoadTranslationsFunc = func() error {
		if filepath.Base(os.Args[0]) != "kubectl" {
			return nil
		}
		return load()
	}
}
