#!/bin/sh
# A small CA and what it has signed, made anew for each run: certificates.sh DIR
# Names in DIR: ca (and other_ca, which nobody trusts), good, expired, wrong, wild,
# self, alice, mallory (signed by other_ca), encrypted (password "sesame"), chained.
set -e
cd "$1"
EC="-newkey ec -pkeyopt ec_paramgen_curve:P-256"

authority() { # name
   openssl req -x509 $EC -nodes -days 30 -subj "/CN=weft $1" -keyout "$1.key" \
      -out "$1.pem" -addext basicConstraints=critical,CA:TRUE
}

signed() { # authority, name, alternative names, x509 options
   authority=$1 name=$2 names=$3
   shift 3
   openssl req $EC -nodes -subj "/CN=$name" -keyout "$name.key" -out "$name.csr"
   printf 'subjectAltName=%s\n' "$names" > "$name.ext"
   openssl x509 -req -in "$name.csr" -CA "$authority.pem" -CAkey "$authority.key" \
      -CAcreateserial -extfile "$name.ext" -out "$name.pem" "$@"
}

exec 2> log
authority ca
authority other_ca
signed ca good DNS:localhost,IP:127.0.0.1,IP:::1 -days 30
signed ca wrong DNS:other.example,DNS:more.example -days 30
signed ca wild 'DNS:*.wild.example' -days 30
signed ca exact DNS:a.wild.example -days 30
signed ca alice DNS:alice.example -days 30
signed other_ca mallory DNS:mallory.example -days 30
openssl req -x509 $EC -nodes -days 30 -subj /CN=self -keyout self.key -out self.pem \
   -addext subjectAltName=DNS:localhost,IP:127.0.0.1
openssl ec -in good.key -aes128 -passout pass:sesame -out encrypted.key
cat good.pem good.key > both.pem

# expired: only the ca command signs with dates of the past
signed ca expired DNS:localhost,IP:127.0.0.1 -days 30
mkdir db
: > db/index
echo 01 > db/serial
cat > db/conf <<EOF
[ca]
default_ca = d
[d]
database = db/index
serial = db/serial
new_certs_dir = db
default_md = sha256
policy = p
[p]
commonName = supplied
EOF
openssl ca -batch -config db/conf -cert ca.pem -keyfile ca.key -in expired.csr \
   -extfile expired.ext -startdate 20200101000000Z -enddate 20200102000000Z -notext \
   -out expired.pem

# chained: by a CA between it and ours
openssl req $EC -nodes -subj "/CN=weft between" -keyout between.key -out between.csr
echo basicConstraints=critical,CA:TRUE > between.ext
openssl x509 -req -in between.csr -CA ca.pem -CAkey ca.key -CAcreateserial \
   -extfile between.ext -days 30 -out between.pem
signed between chained DNS:localhost,IP:127.0.0.1 -days 30
cat between.pem >> chained.pem

mkdir trusted
cp ca.pem trusted
openssl rehash trusted
