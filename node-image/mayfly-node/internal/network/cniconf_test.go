package network

import (
	"os"
	"path/filepath"
	"testing"
)

const singleStackConfig = `{
  "cniVersion": "1.0.0",
  "name": "kindnet",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": false,
      "mtu": 1500,
      "ipam": {
        "type": "host-local",
        "dataDir": "/run/cni-ipam-state",
        "routes": [
          {
            "dst": "0.0.0.0/0"
          }
        ],
        "ranges": [
          [
            {
              "subnet": "10.244.1.0/24"
            }
          ]
        ]
      }
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      }
    }
  ]
}
`

func TestCNIConfig(t *testing.T) {
	got, err := CNIConfig(prefixes("10.244.1.0/24"), 1500)
	if err != nil || string(got) != singleStackConfig {
		t.Errorf("got %v %s", err, got)
	}
	if got, err := CNIConfig(nil, 1500); err == nil {
		t.Errorf("a configuration without a subnet: %s", got)
	}
}

func TestEnsureCNIConfigLeavesEqualContentAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "10-kindnet.conflist")
	ensure := func(cidr string) bool {
		t.Helper()
		written, err := ensureCNIConfig(path, prefixes(cidr), 1500)
		if err != nil {
			t.Fatal(err)
		}
		return written
	}
	if !ensure("10.244.1.0/24") {
		t.Error("nothing there: not written")
	}
	before, _ := os.Stat(path)
	if ensure("10.244.1.0/24") {
		t.Error("equal content: written again")
	}
	if after, _ := os.Stat(path); !os.SameFile(before, after) {
		t.Error("equal content: the file was replaced")
	}
	if !ensure("10.244.2.0/24") {
		t.Error("another subnet: not written")
	}
	// Another file beside it would be taken for a second network.
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("files left behind: %v", files)
	}
}

func TestEnsureCNIConfigSaysWhatIsWrong(t *testing.T) {
	if _, err := ensureCNIConfig(filepath.Join(t.TempDir(), "missing", "x.conflist"), prefixes("10.244.1.0/24"), 1500); err == nil {
		t.Error("no error for a directory that is not there")
	}
}
