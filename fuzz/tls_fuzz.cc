#include "fuzz/input.h"
#include "fuzz/law.h"
#include "remoting/tls.h"
#include "testing/certificates.h"
#include "testing/disk_env.h"

/// TLS: the files an operator names, damaged or any bytes at all, and what a peer sends in place of
/// a handshake. Laws: files are taken or refused with their name; nothing that was not encrypted by
/// the other side comes out of a session; nothing is unbounded.
namespace {

using apogee::fuzz::Input;
using apogee::fuzz::require;

using namespace apogee;
using namespace apogee::remoting;

const apogee::testing::Identity& identity() {
  static const auto made =
      apogee::testing::issue(apogee::testing::make_authority("authority"), "10.0.0.1");
  return made;
}

/// Any bytes, or a sound file with a few bytes changed.
std::string content(Input& input, const std::string& sound) {
  if (input.next(4) == 0) return std::string{as_text(input.take(input.next(1'024)))};
  std::string text = sound;
  for (std::uint32_t changes = input.next(4); changes-- > 0;)
    text[input.next(static_cast<std::uint32_t>(text.size()))] = static_cast<char>(input.next(256));
  return text;
}

void write(FileSystem& files, const std::string& path, std::string_view text) {
  auto file = files.open(path, FileSystem::Open::kCreate);
  require(file && (*file)->write_at(0, as_bytes(text)).has_value());
}

void check_files(Input& input) {
  testing::DiskEnv disk;
  FileSystem& files = disk.env->files;
  require(files.create_directories("/tls").has_value());
  write(files, "/tls/certificate", content(input, identity().certificate));
  write(files, "/tls/key", content(input, identity().key));
  write(files, "/tls/trust", content(input, identity().certificate));
  const TlsFiles named{.certificate = "/tls/certificate",
                       .key = "/tls/key",
                       .key_password = input.next(2) == 0 ? "" : "secret",
                       .trust = "/tls/trust"};
  const auto server = make_server_tls(*disk.env, named, ClientAuth::kRequire, true);
  if (!server) require(server.error().detail.find("/tls/") != std::string::npos);
  const auto client = make_client_tls(*disk.env, named, true);
  if (!client) require(client.error().detail.find("/tls/") != std::string::npos);
}

/// What the peer says, in pieces; the session has its own hello to a client that is one.
void check_session(Input& input) {
  static testing::DiskEnv disk;
  static const auto contexts = [] {
    FileSystem& files = disk.env->files;
    require(files.create_directories("/tls").has_value());
    write(files, "/tls/certificate", identity().certificate);
    write(files, "/tls/key", identity().key);
    const TlsFiles named{.certificate = "/tls/certificate",
                         .key = "/tls/key",
                         .key_password = {},
                         .trust = "/tls/certificate"};
    auto server = make_server_tls(*disk.env, named, ClientAuth::kOptional, true);
    auto client = make_client_tls(*disk.env, named, false);
    require(server && client);
    return std::pair{*server, *client};
  }();
  auto server = contexts.first->session(), client = contexts.second->session("10.0.0.1");
  require(server && client);
  // An honest hello first, now and then, changed in one place.
  if (input.next(2) == 0 && (*client)->has_output()) {
    Buffer hello = (*client)->take_output();
    hello[input.next(static_cast<std::uint32_t>(hello.size()))] ^=
        static_cast<char>(input.next(256));
    if (!(*server)->receive(as_bytes(hello))) return;
  }
  std::array<std::byte, 4'096> plain;
  while (!input.rest.empty()) {
    if (!(*server)->receive(input.take(1 + input.next(64)))) return;
    const auto read = (*server)->read(plain);
    if (!read) return;
    require(*read == 0 && !(*server)->ready());
    if ((*server)->has_output()) require((*server)->take_output().size() < 64 << 10);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input{std::as_bytes(std::span{data, size})};
  if (input.next(2) == 0)
    check_files(input);
  else
    check_session(input);
  return 0;
}
