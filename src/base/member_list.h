#pragma once

#include <cstddef>
#include <utility>

namespace apogee {

template <std::size_t Index, class T>
struct MemberListItem {
  T item;
};
template <class Indexes, class... T>
struct MemberListItems;
template <std::size_t... Index, class... T>
struct MemberListItems<std::index_sequence<Index...>, T...> : MemberListItem<Index, T>... {
  constexpr explicit MemberListItems(T... items) : MemberListItem<Index, T>{items}... {}
  constexpr void for_each([[maybe_unused]] auto&& visit) const {
    (visit(MemberListItem<Index, T>::item), ...);
  }
};

/// What a struct declares of its members, in order: the fields of a header or a body, the options
/// of a configuration. A std::tuple would do, but one of a hundred costs every file that includes
/// it seconds to compile; this costs one small class an item.
template <class... T>
struct MemberList : MemberListItems<std::index_sequence_for<T...>, T...> {
  constexpr explicit MemberList(T... items)
      : MemberListItems<std::index_sequence_for<T...>, T...>{items...} {}
};

}  // namespace apogee
