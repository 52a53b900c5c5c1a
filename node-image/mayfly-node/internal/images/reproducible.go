package images

import (
	"bytes"
	"fmt"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
)

// boltBucket is one bucket of a database, with the way to it.
type boltBucket struct {
	path     [][]byte
	sequence uint64
	keys     [][2][]byte
}

// settleTimes writes a database of containerd anew, with one time in place of
// those at which its records were made: the same images then give the same bytes.
func settleTimes(file string, at time.Time) error {
	stamp, err := at.UTC().MarshalBinary()
	if err != nil {
		return err
	}
	buckets, err := readBuckets(file)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	draft := file + ".draft"
	db, err := bolt.Open(draft, 0o644, &bolt.Options{NoSync: true})
	if err != nil {
		return err
	}
	for _, bucket := range buckets {
		// One transaction a bucket: within one, bbolt gives buckets their pages in random order.
		if err := db.Update(func(tx *bolt.Tx) error { return bucket.write(tx, stamp) }); err != nil {
			db.Close()
			return err
		}
	}
	if err := db.Close(); err != nil {
		return err
	}
	return os.Rename(draft, file)
}

func readBuckets(file string) ([]boltBucket, error) {
	db, err := bolt.Open(file, 0o644, &bolt.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var found []boltBucket
	var visit func(path [][]byte, b *bolt.Bucket) error
	visit = func(path [][]byte, b *bolt.Bucket) error {
		at := len(found)
		found = append(found, boltBucket{path: path, sequence: b.Sequence()})
		return b.ForEach(func(key, value []byte) error {
			if value == nil {
				return visit(append(path[:len(path):len(path)], bytes.Clone(key)), b.Bucket(key))
			}
			found[at].keys = append(found[at].keys, [2][]byte{bytes.Clone(key), bytes.Clone(value)})
			return nil
		})
	}
	return found, db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error { return visit([][]byte{bytes.Clone(name)}, b) })
	})
}

func (b boltBucket) write(tx *bolt.Tx, stamp []byte) error {
	bucket, err := tx.CreateBucketIfNotExists(b.path[0])
	if err != nil {
		return err
	}
	for _, name := range b.path[1:] {
		if bucket, err = bucket.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	if err := bucket.SetSequence(b.sequence); err != nil {
		return err
	}
	for _, pair := range b.keys {
		key, value := pair[0], pair[1]
		if string(key) == "createdat" || string(key) == "updatedat" {
			value = stamp
		}
		if err := bucket.Put(key, value); err != nil {
			return err
		}
	}
	return nil
}
