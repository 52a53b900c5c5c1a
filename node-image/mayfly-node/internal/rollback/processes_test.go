package rollback

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestPodOfACgroup(t *testing.T) {
	for cgroups, want := range map[string]string{
		"0::/kubelet/kubepods/besteffort/pod" + uid + "/0123":                                                            uid,
		"4:pids:/kubelet/kubepods/pod99c05c8749054faa8e92d64f54b66e98/0123\n1:name=systemd:/x":                           "99c05c8749054faa8e92d64f54b66e98",
		"0::/kubelet-kubepods-pod11111111_1111_1111_1111_111111111111.slice/cri-containerd-0123.scope":                   uid,
		"0::/system.slice/kubelet.service":                                                                               "",
		"0::/system.slice/podman-11111111-1111-1111-1111-111111111111":                                                   "",
		"0::/kubelet/kubepods/besteffort/pod" + uid + "/0123/inner/pod22222222-2222-2222-2222-222222222222/of-a-cluster": uid,
	} {
		if got := podOfCgroups(cgroups); got != want {
			t.Errorf("%q is of pod %q, not %q", cgroups, got, want)
		}
	}
}

func TestStatOfThisProcess(t *testing.T) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(os.Getpid()) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	command, state, started := parseStat(string(stat))
	if command != "rollback.test" || state != "R" && state != "S" {
		t.Errorf("got %q in state %q", command, state)
	}
	if age := time.Since(started); age < 0 || age > time.Hour {
		t.Errorf("it is %s old", age)
	}
}

func TestCommandsMayHaveParentheses(t *testing.T) {
	command, state, _ := parseStat("7 (a) b (c)) Z" + strings.Repeat(" 1", 30))
	if command != "a) b (c)" || state != "Z" {
		t.Errorf("got %q in state %q", command, state)
	}
}
