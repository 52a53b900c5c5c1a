package etcdstate

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// What etcd refuses may be right a moment later: members have to know each
	// other for five seconds, and a learner has to catch up first.
	tryAgain = 100 * time.Millisecond
	// masterLeases are by what API servers know of each other.
	masterLeases = "/registry/masterleases/"
)

// peer is a member of the etcd cluster besides this node.
type peer struct{ name, url string }

// joining is what a new member has to be started with.
type joining struct {
	InitialCluster string `json:"initialCluster"`
}

// RunMember changes who belongs to the etcd cluster of this node:
// `etcd-member add|promote|remove -name NODE -peer-url URL [-within DURATION]`.
// A member is added without a vote; `promote` gives it one, once it has what the
// others have. `remove -address` also forgets the API server of that address.
func RunMember(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("what to do is missing: add, promote or remove")
	}
	flags := flag.NewFlagSet("etcd-member "+args[0], flag.ContinueOnError)
	var who peer
	flags.StringVar(&who.name, "name", "", "name of the member's node")
	flags.StringVar(&who.url, "peer-url", "", "URL by which other members reach it")
	address := flags.String("address", "", "remove: address of its API server")
	within := flags.Duration("within", time.Minute, "time to give up after")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	change := map[string]func(context.Context, *clientv3.Client) error{
		"add":     who.add,
		"promote": who.promote,
		"remove": func(ctx context.Context, client *clientv3.Client) error {
			if err := who.remove(ctx, client); err != nil || *address == "" {
				return err
			}
			_, err := client.Delete(ctx, masterLeases+*address)
			return err
		},
	}[args[0]]
	if change == nil {
		return fmt.Errorf("%q is nothing to do with a member", args[0])
	}
	client, err := Connect()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, *within)
	defer cancel()
	return untilDone(ctx, func(ctx context.Context) error { return change(ctx, client) })
}

func untilDone(ctx context.Context, try func(context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := try(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(tryAgain):
		}
	}
}

func (p peer) add(ctx context.Context, client *clientv3.Client) error {
	members, err := p.addTo(ctx, client)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(joining{InitialCluster: p.initialCluster(members)})
}

// addTo returns all members, the new one among them. One that an earlier
// attempt has added is taken as it is.
func (p peer) addTo(ctx context.Context, client *clientv3.Client) ([]*etcdserverpb.Member, error) {
	list, err := client.MemberList(ctx)
	if err != nil {
		return nil, err
	}
	if p.among(list.Members) != nil {
		return list.Members, nil
	}
	added, err := client.MemberAddAsLearner(ctx, []string{p.url})
	if err != nil {
		return nil, err
	}
	return added.Members, nil
}

// initialCluster is etcd's own notation. A member that has not started has no name yet.
func (p peer) initialCluster(members []*etcdserverpb.Member) string {
	var pairs []string
	for _, member := range members {
		name := member.Name
		if name == "" {
			name = p.name
		}
		for _, url := range member.PeerURLs {
			pairs = append(pairs, name+"="+url)
		}
	}
	return strings.Join(pairs, ",")
}

func (p peer) promote(ctx context.Context, client *clientv3.Client) error {
	list, err := client.MemberList(ctx)
	if err != nil {
		return err
	}
	switch member := p.among(list.Members); {
	case member == nil:
		return fmt.Errorf("%s is no member", p.url)
	case !member.IsLearner:
		return nil
	default:
		_, err := client.MemberPromote(ctx, member.ID)
		return err
	}
}

func (p peer) remove(ctx context.Context, client *clientv3.Client) error {
	list, err := client.MemberList(ctx)
	if err != nil {
		return err
	}
	member := p.among(list.Members)
	if member == nil {
		return nil
	}
	_, err = client.MemberRemove(ctx, member.ID)
	return err
}

func (p peer) among(members []*etcdserverpb.Member) *etcdserverpb.Member {
	at := slices.IndexFunc(members, func(member *etcdserverpb.Member) bool { return slices.Contains(member.PeerURLs, p.url) })
	if at < 0 {
		return nil
	}
	return members[at]
}
